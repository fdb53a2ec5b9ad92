"""The way back: a slim network's weights in their places in the original network."""

import numpy as np
from mindspore import Tensor, nn

from golden_stick.prune.copying import copy_network
from golden_stick.prune.plan import PruningPlan

__all__ = ["expanded_network"]


def expanded_network(network: nn.Cell, slim: nn.Cell, plan: PruningPlan) -> nn.Cell:
    """
    A copy of the network a plan was made for, with a slim network's weights where the plan kept positions.

    Removed positions hold random numbers in [0.5, 1.5), the same ones each time: masked by the plan, the copy must give
    the outputs of `slim` all the same, and a mask or a position that is wrong shows.

    Args:
        network (nn.Cell): The network that the plan was made for. It is not changed.
        slim (nn.Cell): What the plan made of it, fine-tuned or not.
        plan (PruningPlan): The plan.

    Returns:
        nn.Cell, of the size of `network`, with its parameter names.
    """
    expanded = copy_network(network)
    generator = np.random.default_rng(0)
    narrow = {parameter.name: parameter.asnumpy() for parameter in slim.get_parameters()}
    kept = {}
    for axis in plan.axes:
        kept.setdefault(axis.parameter, {})[axis.axis] = axis.kept
    for parameter in expanded.get_parameters():
        values = generator.uniform(0.5, 1.5, parameter.shape)
        places = [kept.get(parameter.name, {}).get(axis, range(size)) for axis, size in enumerate(parameter.shape)]
        values[np.ix_(*places)] = narrow[parameter.name]
        parameter.set_data(Tensor(values, parameter.dtype))
    return expanded
