"""`safe_filters`: filters whose removal, one at a time, is shown to cost less than a bound on held-out images."""
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from mindspore import nn

from golden_stick.base.config import Interval, check_value
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, NothingToPruneError
from golden_stick.base.files import whole_file
from golden_stick.cells.trace import trace
from golden_stick.certify.ablation import loss_increase
from golden_stick.certify.equivalence import discoveries, equivalence_p_values
from golden_stick.certify.fingerprints import DataFingerprint, network_digest
from golden_stick.certify.prior_use import OnFreshImages, known_uses, with_caveats
from golden_stick.graph.groups import Grouping, find_groups
from golden_stick.graph.plan import PruningPlan, plan_without

__all__ = ["SafeFilters", "safe_filters"]


@dataclass(frozen=True, eq=False)
class SafeFilters(OnFreshImages):
    """
    What `safe_filters` found. Arrays are of shape (removable channels,), in the order of the groups.

    Args:
        grouping (Grouping): The channels of the network.
        channels (numpy.ndarray): int64, their numbers.
        cost (numpy.ndarray): Mean rise of the loss when the channel alone is hidden.
        error (numpy.ndarray): Standard error of `cost`.
        p_values (numpy.ndarray): Of "the loss rises by `eps` or more".
        safe (numpy.ndarray): bool, whether that is rejected.
        eps (float): The bound, in units of the loss.
        q (float): The false discovery rate.
        correction (str): ``'bh'`` or ``'by'``.
        network (str): Digest of the network.
        data (DataFingerprint): The images. They are used now: in another process, give this as `used` to `certify`.
        used_before (tuple[str]): Earlier uses of any of the images that are known of.
        ledger (str, None): Name of the ledger that earlier uses were looked up in; None if there was none.
    """

    grouping: Grouping
    channels: np.ndarray
    cost: np.ndarray
    error: np.ndarray
    p_values: np.ndarray
    safe: np.ndarray
    eps: float
    q: float
    correction: str
    network: str
    data: DataFingerprint
    used_before: Tuple[str, ...] = ()
    ledger: Optional[str] = None

    @property
    def statement(self) -> str:
        """What is claimed of the safe filters; with a warning where that does not hold."""
        return with_caveats(
            f"safe: removed alone, the mean loss rises by less than {self.eps:g}; at most {self.q:g} of these claims "
            f"are expected to be wrong ({self.correction.upper()}, {self.data.images:,} images). Removing several "
            f"together is not covered.", self.used_before, self.ledger, "THE RATE OF WRONG CLAIMS")

    def of_group(self, name: str) -> np.ndarray:
        """
        The safe channels of a group, by their numbers.

        Raises:
            ArgumentError: If there is no such group.
        """
        for group in self.grouping:
            if group.name == name:
                return self.channels[self.safe & np.isin(self.channels, group.channels)]
        known = ", ".join(group.name for group in self.grouping)
        raise ArgumentError(f"For 'SafeFilters', 'name' must be a group of the network ({known}), but got '{name}'.")

    def removable(self) -> List[int]:
        """
        The safe channels by their numbers, the surest first (the smallest p-value, then the cheapest), without the
        costliest of a layer whose filters are all safe.
        """
        removed = set(self.channels[self.safe].tolist())
        for group in self.grouping:
            for item in group.filters:
                if (item.channels >= 0).all() and removed.issuperset(item.channels.tolist()):
                    costliest = np.isin(self.channels, item.channels)
                    removed.remove(int(self.channels[costliest][np.argmax(self.cost[costliest])]))
        return [int(self.channels[place]) for place in np.lexsort((self.cost, self.p_values))
                if int(self.channels[place]) in removed]

    def plan(self) -> PruningPlan:
        """
        The plan for `golden_stick.slim` that removes all safe channels, and nothing else.

        A layer all of whose filters are safe keeps the costliest. Each channel is safe by itself; what removing all of
        them costs is not covered: `golden_stick.safe_together` tests that, on other images.
        """
        return plan_without(self.grouping, self.removable())

    def __str__(self) -> str:
        width = max(len(group.name) for group in self.grouping)
        lines = [f"{'group':<{width}}  channels   safe  largest cost of a safe one"]
        for group in self.grouping:
            mine = np.isin(self.channels, group.channels)
            costs = self.cost[mine & self.safe]
            largest = f"{costs.max():.6f}" if len(costs) else ""
            lines.append(f"{group.name:<{width}}  {mine.sum():>8}  {(mine & self.safe).sum():>5}  {largest}")
        return "\n".join([*lines, self.statement, *(f"used before: {use}" for use in self.used_before)])

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        groups = {}
        for group in self.grouping:
            mine = np.isin(self.channels, group.channels)
            groups[group.name] = {"channels": self.channels[mine].tolist(), "safe": self.safe[mine].tolist(),
                                  "cost": self.cost[mine].tolist(), "error": self.error[mine].tolist(),
                                  "p_values": self.p_values[mine].tolist()}
        return {"statement": self.statement, "holds": self.holds, "used_before": list(self.used_before),
                "ledger": self.ledger, "eps": self.eps, "q": self.q, "correction": self.correction,
                "network": self.network, "data": self.data.digest, "images": self.data.images, "groups": groups}

    def save(self, path: str) -> str:
        """
        Write `to_dict` as JSON; returns the path.

        Raises:
            CheckpointError: If the file cannot be written there.
        """
        with whole_file("safe_filters", path) as temporary:
            Path(temporary).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        return path


def safe_filters(network: nn.Cell, inputs: Any, data: Any, loss: nn.Cell, eps: float = 0.001, q: float = 0.1,
                 correction: str = "bh", *, used: Sequence[Any] = (), reuse: str = "refuse",
                 ledger: Optional[str] = None, **policies: str) -> SafeFilters:
    """
    Filters that can go one at a time: tests of equivalence on held-out images, no knockoff needed.

    Each removable channel is hidden, alone, where the masked network would hide it, and the loss of each image is
    compared with that of the whole network. "The mean loss rises by `eps` or more" is tested for each channel by a
    t-test, and the channels are selected so that the expected share of wrong ones among them is at most `q`
    (Benjamini and Hochberg, <https://doi.org/10.1111/j.2517-6161.1995.tb02031.x>). The network is compiled once.

    Args:
        network (nn.Cell): The trained network. It is not changed.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What it takes, or the shape, for tracing.
        data (Iterable): Held-out images, on which nothing was trained: a `mindspore.dataset` object whose first
            columns are images and labels, or an iterable of ``(images, labels)``; batched, taken once.
        loss (nn.Cell): Takes the output and the labels and gives one number for each image, such as
            ``nn.CrossEntropyLoss(reduction='none')``.
        eps (float): The bound, in units of the loss, positive. At 0.005, filters that do a little were found safe
            beside those that do nothing (docs/planted.md). Default: ``0.001``.
        q (float): The false discovery rate, in (0, 1). Default: ``0.1``.
        correction (str): ``'bh'``, or ``'by'`` which holds for any dependence. Default: ``'bh'``.
        used (Sequence): What was used to train or choose, as of :func:`golden_stick.certify`. Default: none.
        reuse (str): What happens if an image was used before: ``'refuse'``, an error; ``'declare'``, a result that says
            that its rate does not hold. Default: ``'refuse'``.
        ledger (str): File that lists used images, which is read, and added to. Default: ``None``, none.
        policies: `residual`, `heads`, `normalization` of `golden_stick.find_groups`.

    Returns:
        SafeFilters. ``gs.slim(network, result.plan())`` removes them.

    Raises:
        ArgumentTypeError: If `network` or `loss` is not a Cell, or a batch is not images and labels.
        ArgumentError: If a value is out of range, there are fewer than two images, or the loss is not one finite
            number for each image.
        NothingToPruneError: If the network has no removable channel.
        StateError: If an image was used before, unless `reuse` is ``'declare'``.
        CheckpointError: If the ledger or a fingerprint is damaged, or the ledger cannot be written.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import golden_stick as gs
        >>> import numpy as np
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Dense(4, 6), nn.ReLU(), nn.Dense(6, 3))
        >>> net[2].weight[:, 1] = 0.0
        >>> images, labels = np.random.rand(64, 4).astype(np.float32), np.random.randint(0, 3, 64).astype(np.int32)
        >>> found = gs.safe_filters(net, (1, 4), [(images, labels)], nn.CrossEntropyLoss(reduction="none"), eps=1e-6)
        >>> print(bool(found.safe[1]))
        True
    """
    if not (isinstance(network, nn.Cell) and isinstance(loss, nn.Cell)):
        raise ArgumentTypeError(f"For 'safe_filters', both 'network' and 'loss' must be Cells, but got "
                                f"{type(network).__name__} and {type(loss).__name__}.")
    check_value("safe_filters", "eps", eps, Interval(1e-12, float("inf")))
    discoveries(np.zeros(0), q, correction)
    known = known_uses("safe_filters", used, ledger, reuse)
    grouping = find_groups(trace(network, inputs), **policies)
    if not len(grouping):
        raise NothingToPruneError("For 'safe_filters', 'network' must have removable channels, but has none.")
    channels = np.concatenate([group.channels for group in grouping])
    differences, fingerprint = loss_increase("safe_filters", network, grouping, channels[:, None], data, loss,
                                    known.check)
    earlier = known.record(fingerprint, "a search for safe filters")
    images, cost, deviation = len(differences), differences.mean(0), differences.std(0, ddof=1)
    p_values = equivalence_p_values(cost, deviation, images, eps)
    return SafeFilters(grouping, channels, cost, deviation / np.sqrt(images), p_values,
                       discoveries(p_values, q, correction), float(eps), float(q), correction,
                       network_digest(network), fingerprint, earlier, known.name)
