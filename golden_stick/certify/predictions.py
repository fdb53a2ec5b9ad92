"""One pass over labelled images: which network is right on which of them."""
from contextlib import ExitStack
from typing import Any, Callable, Dict, List, Mapping, Tuple

import numpy as np
from mindspore import Tensor, nn

from golden_stick.certify.fingerprints import DataFingerprint, SamplesSeen, labelled_batches
from golden_stick.errors import ArgumentError
from golden_stick.evaluation import evaluation
from golden_stick.progress import shown

__all__ = ["right_answers"]


def right_answers(networks: Mapping[str, nn.Cell], data: Any,
                  check: Callable[[DataFingerprint], None]) -> Tuple[Dict[str, np.ndarray], DataFingerprint]:
    """
    Run all networks on all images, in evaluation. The class is that of the largest output.

    Args:
        networks (Mapping): Name -> network that takes images and gives an output, or several with that first, of
            shape :math:`(N, classes)`.
        data (Iterable): Batches of images and labels; taken once.
        check (Callable): Called with the fingerprint of each batch before any network sees it; raises to stop.

    Returns:
        tuple, name -> bool array of shape (images,), whether the network is right; and the fingerprint of the data.

    Raises:
        ArgumentError: If there is no image, or a network's output is not finite or of another shape.
    """
    seen = SamplesSeen()
    right: Dict[str, List[np.ndarray]] = {name: [] for name in networks}
    with ExitStack() as stack:
        for network in networks.values():
            stack.enter_context(evaluation(network))
        for images, labels in shown(labelled_batches("certify", data), "batches"):
            check(seen.add(images, labels))
            tensor = Tensor(images)
            for name, network in networks.items():
                right[name].append(_classes(name, network(tensor), len(labels)) == labels)
    if not seen:
        raise ArgumentError("For 'certify', 'data' must hold at least one image, but got none.")
    return {name: np.concatenate(parts) for name, parts in right.items()}, seen.fingerprint()


def _classes(name: str, output: Any, images: int) -> np.ndarray:
    values = (output[0] if isinstance(output, (tuple, list)) else output).asnumpy()
    if values.ndim != 2 or len(values) != images or values.shape[1] < 2:
        raise ArgumentError(f"For 'certify', the output of '{name}' must be of shape (images, classes), but got "
                            f"{values.shape} for {images} images.")
    if not np.isfinite(values).all():
        raise ArgumentError(f"For 'certify', the output of '{name}' must be finite, but some of it is not.")
    return values.argmax(1)
