"""Reading a checkpoint of the network that `apply` returned."""
from typing import Dict, Sequence

import mindspore as ms
import numpy as np
from mindspore import nn

from golden_stick.errors import CheckpointError, first_line

__all__ = ["read_checkpoint"]


def read_checkpoint(owner: str, network: nn.Cell, path: str, optional: Sequence[str] = ()) -> Dict[str, np.ndarray]:
    """
    The values that a checkpoint holds, by parameter name: at least those of `network`, in its shapes.

    Args:
        owner (str): Name of the caller, for messages.
        network (nn.Cell): The network that it must be of.
        path (str): The checkpoint.
        optional (Sequence[str]): Parameters of `network` that it need not hold. Default: ``()``.

    Returns:
        dict, name of a parameter -> numpy.ndarray.

    Raises:
        CheckpointError: If it cannot be read or belongs to another network.
    """
    try:
        loaded = ms.load_checkpoint(path)
    except (ValueError, RuntimeError, OSError, TypeError) as error:
        raise CheckpointError(f"For '{owner}', 'ckpt_path' must be a checkpoint, but got '{path}': "
                              f"{first_line(error)}") from error
    values = {name: value.asnumpy() for name, value in loaded.items() if isinstance(value, ms.Tensor)}
    for parameter in network.get_parameters():
        if parameter.name not in values and parameter.name in optional:
            continue
        if parameter.name not in values:
            raise CheckpointError(f"For '{owner}', the checkpoint must hold '{parameter.name}' of the applied network, "
                                  f"but '{path}' does not.")
        if values[parameter.name].shape != tuple(parameter.shape):
            raise CheckpointError(f"For '{owner}', '{parameter.name}' in the checkpoint must have shape "
                                  f"{tuple(parameter.shape)}, but got {values[parameter.name].shape}.")
    return values
