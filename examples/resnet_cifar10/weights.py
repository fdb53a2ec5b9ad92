"""Weights saved by numpy under PyTorch's names, loaded into a MindSpore network of the same structure."""
import zipfile
from typing import Dict

import mindspore as ms
import numpy as np
from mindspore import nn

__all__ = ["load_npz"]

_NORMALIZATION = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_IGNORED_ENDING = "num_batches_tracked"


def load_npz(network: nn.Cell, path: str) -> None:
    """
    Load a ``.npz`` archive of PyTorch weights into a network, all or nothing.

    Every parameter of the network must have its array in the archive, under the name that PyTorch gives it
    (`bn1.gamma` is `bn1.weight`, `bn1.moving_variance` is `bn1.running_var`), and every array its parameter.

    Args:
        network (nn.Cell): The network; its parameters are overwritten.
        path (str): The archive, as written by `numpy.savez`.

    Raises:
        ValueError: If `path` is not such an archive, or an array is missing, superfluous or of another shape.
    """
    arrays = _read(path)
    parameters = {_torch_name(name): parameter for name, parameter in network.parameters_dict().items()}
    missing = sorted(set(parameters) - set(arrays))
    if missing:
        raise ValueError(f"For 'load_npz', the archive must hold {missing[0]!r}, but {path} lacks {_listed(missing)}.")
    superfluous = sorted(set(arrays) - set(parameters))
    if superfluous:
        raise ValueError(
            f"For 'load_npz', every array must belong to the network, but {path} also holds {_listed(superfluous)}."
        )
    for name, parameter in parameters.items():
        if arrays[name].shape != parameter.shape:
            raise ValueError(
                f"For 'load_npz', {name!r} must have shape {parameter.shape}, but got {arrays[name].shape} in {path}."
            )
    for name, parameter in parameters.items():
        parameter.set_data(ms.Tensor(arrays[name], parameter.dtype))


def _read(path: str) -> Dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if not name.endswith(_IGNORED_ENDING)}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(
            f"For 'load_npz', 'path' must be a .npz archive of arrays, but got {path!r}: {error}"
        ) from error


def _torch_name(name: str) -> str:
    prefix, dot, last = name.rpartition(".")
    return f"{prefix}{dot}{_NORMALIZATION.get(last, last)}"


def _listed(names: list) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
