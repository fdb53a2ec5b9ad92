"""Reading a checkpoint of the network that `apply` returned."""
from typing import Dict, Mapping, Sequence

import mindspore as ms
import numpy as np

from golden_stick.errors import CheckpointError, first_line

__all__ = ["read_checkpoint"]


def read_checkpoint(owner: str, parameters: Mapping[str, ms.Parameter], path: str, optional: Sequence[str] = ()
                    ) -> Dict[str, np.ndarray]:
    """
    The values that a checkpoint holds, by parameter name: at least those of a network's parameters, in their shapes.

    Args:
        owner (str): Name of the caller, for messages.
        parameters (Mapping): Name -> parameter of the network that it must be of. One that was renamed since may stand
            there under its new name.
        path (str): The checkpoint.
        optional (Sequence[str]): Names that it need not hold. Default: ``()``.

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
    for name, parameter in parameters.items():
        if name not in values and parameter.name in values:
            values[name] = values.pop(parameter.name)
        if name not in values and name in optional:
            continue
        if name not in values:
            raise CheckpointError(f"For '{owner}', the checkpoint must hold '{name}' of the applied network, "
                                  f"but '{path}' does not.")
        if values[name].shape != tuple(parameter.shape):
            raise CheckpointError(f"For '{owner}', '{name}' in the checkpoint must have shape "
                                  f"{tuple(parameter.shape)}, but got {values[name].shape}.")
    return values
