"""What hiding channels costs: the rise of each image's loss, for any sets of channels, from one compilation."""
from typing import Any, Callable, Collection, List, Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn

from golden_stick.certify.fingerprints import DataFingerprint, SamplesSeen, labelled_batches
from golden_stick.certify.gates import GatedNetwork, LossOfEachSample
from golden_stick.errors import ArgumentError
from golden_stick.graph.groups import Grouping
from golden_stick.progress import shown

__all__ = ["rises"]


def rises(owner: str, network: nn.Cell, grouping: Grouping, hidden: Sequence[Collection[int]], data: Any,
          loss: nn.Cell, check: Callable[[DataFingerprint], None]) -> Tuple[np.ndarray, DataFingerprint]:
    """
    The rise of each image's loss when each set of channels is hidden where the masked network hides it.

    Args:
        owner (str): Name of the caller, for messages.
        network (nn.Cell): The network, as it was traced. It is not changed.
        grouping (Grouping): Its channels.
        hidden (Sequence): Sets of channels, by their numbers.
        data (Iterable): Batches of images and labels, taken once.
        loss (nn.Cell): Gives one number for each image.
        check (Callable): Called with the fingerprint of each batch before the network sees it; raises to stop.

    Returns:
        tuple: float64, shape (images, sets); and the fingerprint of the images.

    Raises:
        ArgumentError: If there are fewer than two images, or the loss is not one finite number for each.
    """
    gated = GatedNetwork(network, grouping)
    measure = LossOfEachSample(gated.network, loss)
    measure.set_train(False)
    rows: List[np.ndarray] = [np.zeros((0, len(hidden)))]
    seen = SamplesSeen()
    for images, labels in labelled_batches(owner, data):
        check(seen.add(images, labels))
        tensors, count = (Tensor(images), Tensor(labels)), len(labels)
        gated.hide(())
        whole = _losses(owner, measure, tensors, count)
        found = np.empty((count, len(hidden)))
        for column, channels in enumerate(shown(hidden, f"channels, to image {len(seen):,}", len(hidden))):
            gated.hide(channels)
            found[:, column] = _losses(owner, measure, tensors, count) - whole
        rows.append(found)
    if len(seen) < 2:
        raise ArgumentError(f"For '{owner}', 'data' must hold at least two images, but got {len(seen)}.")
    return np.concatenate(rows), seen.fingerprint()


def _losses(owner: str, measure: nn.Cell, tensors: Tuple[Tensor, ...], images: int) -> np.ndarray:
    values = measure(*tensors).asnumpy().astype(np.float64)
    if values.shape != (images,):
        raise ArgumentError(f"For '{owner}', 'loss' must give one number for each of {images} images (such as "
                            f"reduction='none'), but got shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ArgumentError(f"For '{owner}', 'loss' must be finite, but some image's is not.")
    return values
