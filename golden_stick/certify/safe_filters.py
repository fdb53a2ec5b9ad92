"""
Filters that can go: one at a time by tests of equivalence (`safe_filters`), and together (`safe_together`).

Both hide channels where the masked network hides them, and compare the losses of held-out images.
"""
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from mindspore import nn
from scipy import special

from golden_stick.base.config import FRACTION, Interval, OneOf, Whole, check_value, in_own_name
from golden_stick.base.display import table
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, NothingToPruneError
from golden_stick.base.files import network_digest, versions, write_record
from golden_stick.cells.trace import trace
from golden_stick.certify.ablation import loss_increase
from golden_stick.certify.prior_use import DataFingerprint, KnownUses, OnFreshImages, known_uses
from golden_stick.graph.groups import Grouping, find_groups
from golden_stick.graph.plan import PruningPlan, plan_without

__all__ = ["SafeFilters", "SafeTogether", "discoveries", "equivalence_p_values", "safe_filters", "safe_together",
           "sets_passed"]


def equivalence_p_values(mean: np.ndarray, deviation: np.ndarray, images: int, eps: float) -> np.ndarray:
    """
    P-values of "the mean is `eps` or more", by one-sided t-tests.

    They are exact for normal numbers and, by the central limit theorem, close for means of many images. A filter whose
    removal changed nothing on any image gets 0.

    Args:
        mean (numpy.ndarray): Mean difference over the images, shape (filters,).
        deviation (numpy.ndarray): Standard deviation of one difference, shape (filters,).
        images (int): How many, at least 2.
        eps (float): The bound, positive.

    Returns:
        numpy.ndarray, float64, shape (filters,).

    Raises:
        ArgumentError: If there are fewer than two images.
    """
    if images < 2:
        raise ArgumentError(f"For 'equivalence_p_values', 'images' must be at least 2, but got {images}.")
    mean, error = np.asarray(mean, np.float64), np.asarray(deviation, np.float64) / np.sqrt(images)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(error > 0, (mean - eps) / error, np.where(mean < eps, -np.inf, np.inf))
    return special.stdtr(images - 1, statistic)


def discoveries(p_values: np.ndarray, q: float, correction: str = "bh") -> np.ndarray:
    """
    The tests to reject so that the expected share of wrong rejections among them is at most `q`.

    Args:
        p_values (numpy.ndarray): Shape (tests,).
        q (float): The false discovery rate, in (0, 1).
        correction (str): ``'bh'`` (Benjamini and Hochberg, J. R. Stat. Soc. B 1995), for tests that are independent or
            positively dependent, or ``'by'`` (Benjamini and Yekutieli, Ann. Statist. 2001), for any. Default: ``'bh'``.

    Returns:
        numpy.ndarray, bool, shape (tests,).

    Raises:
        ArgumentTypeError: If `q` is not a number.
        ArgumentError: If `q` is out of range or `correction` unknown.
    """
    check_value("safe_filters", "q", q, FRACTION)
    check_value("safe_filters", "correction", correction, OneOf(("bh", "by")))
    p_values = np.asarray(p_values, np.float64)
    if not len(p_values):
        return np.zeros(0, bool)
    ordered, ranks = np.sort(p_values), np.arange(1, len(p_values) + 1)
    level = q / (np.sum(1 / ranks) if correction == "by" else 1)
    passed = ordered[ordered <= level * ranks / len(p_values)]
    return p_values <= max(passed, default=-1.0)


class _Claim(OnFreshImages):
    """What both results have in common."""

    owner: str
    kind: str
    eps: float
    network: str
    data: DataFingerprint

    def _facts(self) -> Dict[str, Any]:
        return {"statement": self.statement, "holds": self.holds, "used_before": list(self.used_before),
                "ledger": self.ledger, "eps": self.eps, "network": self.network, "data": self.data.digest,
                "images": self.data.images, "versions": versions()}

    def _with_uses(self, *lines: str) -> str:
        return "\n".join([*lines, self.statement, *(f"used before: {use}" for use in self.used_before)])

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        raise NotImplementedError

    def save(self, path: str) -> str:
        """
        Write `to_dict` as JSON; returns the path.

        Raises:
            CheckpointError: If the file cannot be written there.
        """
        write_record(self.owner, path, self.kind, self.to_dict())
        return path


@dataclass(frozen=True, eq=False)
class SafeFilters(_Claim):
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
        data (DataFingerprint): The images. They are used now: give this as `used` to `certify`, or keep one ledger.
        used_before (tuple[str]): Earlier uses of any of the images that are known of.
        ledger (str, None): Name of the ledger that earlier uses were looked up in; None if there was none.
    """

    owner, kind, promise = "safe_filters", "golden_stick safe filters", "THE RATE OF WRONG CLAIMS"

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

    def _shown(self) -> str:
        return (f"safe: removed alone, the mean loss rises by less than {self.eps:g}; at most {self.q:g} of these "
                f"claims are expected to be wrong ({self.correction.upper()}, {self.data.images:,} images). Removing "
                f"several together is not covered.")

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
        rows = []
        for group in self.grouping:
            mine = np.isin(self.channels, group.channels)
            costs = self.cost[mine & self.safe]
            rows.append((group.name, mine.sum(), len(costs), f"{costs.max():.6f}" if len(costs) else ""))
        return self._with_uses(table(("group", "channels", "safe", "largest cost of a safe one"), rows))

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        columns = ("channels", "safe", "cost", "error", "p_values")
        groups = {group.name: {name: getattr(self, name)[np.isin(self.channels, group.channels)].tolist()
                               for name in columns} for group in self.grouping}
        return {**self._facts(), "q": self.q, "correction": self.correction, "groups": groups}


@in_own_name
def safe_filters(network: nn.Cell, inputs: Any, data: Any, loss: nn.Cell, eps: float = 0.001, q: float = 0.1,
                 correction: str = "bh", *, used: Sequence[Any] = (), reuse: str = "refuse",
                 ledger: Optional[str] = None, residual: str = "group", normalization: str = "exact",
                 heads: str = "width") -> SafeFilters:
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
        used, reuse, ledger (Any, str, str): What was used to train or choose, what happens if an image was, and a file
            of such uses, as of :func:`golden_stick.certify`. Default: nothing, ``'refuse'``, no file.
        residual, normalization, heads (str): As of `golden_stick.find_groups`.

    Returns:
        SafeFilters. ``gs.slim(network, result.plan())`` removes them.

    Raises:
        ArgumentTypeError: If `network` or `loss` is not a Cell, or a batch is not images and labels.
        ArgumentError: If a value is out of range, there are fewer than two images, or the loss is not one finite
            number for each image.
        NothingToPruneError: If the network has no removable channel.
        StateError: If an image was used before, unless `reuse` is ``'declare'``; or if `network` gives a score for each
            class, and is not clearly better than the most frequent label: the images then stay unused.
        CheckpointError: If the ledger or a fingerprint is damaged, or the ledger cannot be written.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import golden_stick as gs
        >>> import numpy as np
        >>> from mindspore import Tensor, nn
        >>> net = nn.SequentialCell(nn.Dense(4, 6, has_bias=False), nn.ReLU(), nn.Dense(6, 3, has_bias=False))
        >>> net[2].weight[:, 1] = 0.0
        >>> images = np.random.randn(64, 4).astype(np.float32)
        >>> labels = net(Tensor(images)).argmax(1).asnumpy().astype(np.int32)
        >>> found = gs.safe_filters(net, (1, 4), [(images, labels)], nn.CrossEntropyLoss(reduction="none"), eps=1e-6)
        >>> print(bool(found.safe[1]))
        True
    """
    _check("safe_filters", network, loss, eps)
    discoveries(np.zeros(0), q, correction)
    known = known_uses("safe_filters", used, ledger, reuse)
    grouping = find_groups(trace(network, inputs), residual, normalization, heads)
    if not len(grouping):
        raise NothingToPruneError("For 'safe_filters', 'network' must have removable channels, but has none.")
    channels = np.concatenate([group.channels for group in grouping])
    rises, images = loss_increase("safe_filters", network, grouping, channels[:, None], data, loss, known.check)
    earlier = known.record(images, "a search for safe filters")
    cost, deviation = rises.mean(0), rises.std(0, ddof=1)
    p_values = equivalence_p_values(cost, deviation, len(rises), eps)
    return SafeFilters(grouping, channels, cost, deviation / np.sqrt(len(rises)), p_values,
                       discoveries(p_values, q, correction), float(eps), float(q), correction,
                       network_digest(network), images, earlier, known.name)


@dataclass(frozen=True, eq=False)
class SafeTogether(_Claim):
    """
    What `safe_together` found. The sets that were tested each hold the one before.

    Args:
        grouping (Grouping): The channels of the network.
        order (tuple[int]): The safe channels by their numbers, in the order in which they go.
        sizes (tuple[int]): How many of them each set has.
        cost (tuple[float]): Mean rise of the loss without each set.
        p_values (tuple[float]): Of "the loss rises by `eps` or more".
        certified (int): How many channels go: the size of the last set before the first test that failed.
        eps (float): The bound, in units of the loss.
        confidence (float): Of the statement.
        network (str): Digest of the network.
        data (DataFingerprint): The images. They are used now.
        used_before (tuple[str]): Earlier uses of any of the images that are known of.
        ledger (str, None): Name of the ledger that earlier uses were looked up in; None if there was none.
    """

    owner, kind, promise = "safe_together", "golden_stick safe set", "THE CONFIDENCE"

    grouping: Grouping
    order: Tuple[int, ...]
    sizes: Tuple[int, ...]
    cost: Tuple[float, ...]
    p_values: Tuple[float, ...]
    certified: int
    eps: float
    confidence: float
    network: str
    data: DataFingerprint
    used_before: Tuple[str, ...] = ()
    ledger: Optional[str] = None

    @property
    def removed(self) -> Tuple[int, ...]:
        """The channels that go together, by their numbers."""
        return self.order[:self.certified]

    def plan(self) -> PruningPlan:
        """The plan for `golden_stick.slim` that removes them, and nothing else."""
        return plan_without(self.grouping, self.removed)

    def __str__(self) -> str:
        return self._with_uses()

    def _shown(self) -> str:
        if not self.certified:
            return (f"none of {len(self.order)} channels can go with the mean loss shown to rise by less than "
                    f"{self.eps:g} (confidence {self.confidence:g}, {self.data.images:,} images).")
        cost = self.cost[self.sizes.index(self.certified)]
        return (f"{self.certified} of {len(self.order)} channels go together: without them the mean loss rises by less "
                f"than {self.eps:g}, with confidence {self.confidence:g} (observed: {cost:+.6f} on "
                f"{self.data.images:,} images that chose nothing).")

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return {**self._facts(), "confidence": self.confidence,
                **{name: list(getattr(self, name)) for name in ("removed", "order", "sizes", "cost", "p_values")}}


@in_own_name
def safe_together(network: nn.Cell, found: SafeFilters, data: Any, loss: nn.Cell, eps: float = 0.005,
                  confidence: float = 0.9, tests: int = 100, *, used: Sequence[Any] = (), reuse: str = "refuse",
                  ledger: Optional[str] = None) -> SafeTogether:
    """
    The most of the safe filters that can go at once, shown on images that had no part in finding them.

    `safe_filters` tests one filter at a time; ten that cost little each may cost much together, and a pair of twins is
    safe but for both. Here they go one after the other, the surest first: the smallest set is tested, then one that
    holds it, and so on until the first test that fails. The order is fixed before the images are looked at, so
    that each test may use the whole error (fixed-sequence testing, as in Learn then Test,
    <https://arxiv.org/abs/2110.01052>): the mean loss without the set that is named rises by less than `eps`, and that
    is wrong with a probability of at most ``1 - confidence``. The tests are t-tests of means over the images.

    Args:
        network (nn.Cell): The network that `found` is of. It is not changed.
        found (SafeFilters): What `golden_stick.safe_filters` found.
        data (Iterable): Held-out images, none of those that found the filters: a `mindspore.dataset` object whose first
            columns are images and labels, or an iterable of ``(images, labels)``; batched, taken once.
        loss (nn.Cell): Gives one number for each image, such as ``nn.CrossEntropyLoss(reduction='none')``.
        eps (float): The bound on what all cost together, in units of the loss, positive. Default: ``0.005``.
        confidence (float): In (0, 1). Default: ``0.9``.
        tests (int): At most so many sets are tested, of sizes evenly apart. Default: ``100``.
        used, reuse, ledger (Any, str, str): As of :func:`golden_stick.safe_filters`. Images that found these filters
            are refused, whatever is declared.

    Returns:
        SafeTogether. ``gs.slim(network, result.plan())`` removes them.

    Raises:
        ArgumentTypeError: If an argument is of another type.
        ArgumentError: If a value is out of range, `found` is of another network or holds no safe filter, an image has
            been used to find the filters, or the loss is not one finite number for each image.
        StateError: If an image was used before, unless `reuse` is ``'declare'``; or if `network` gives a score for each
            class, and is not clearly better than the most frequent label: the images then stay unused.
        CheckpointError: If the ledger or a fingerprint is damaged, or the ledger cannot be written.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import golden_stick as gs
        >>> import numpy as np
        >>> from mindspore import Tensor, nn
        >>> net = nn.SequentialCell(nn.Dense(4, 6, has_bias=False), nn.ReLU(), nn.Dense(6, 3, has_bias=False))
        >>> net[2].weight[:, 1:3] = 0.0
        >>> images = np.random.randn(128, 4).astype(np.float32)
        >>> labels = net(Tensor(images)).argmax(1).asnumpy().astype(np.int32)
        >>> loss = nn.CrossEntropyLoss(reduction="none")
        >>> found = gs.safe_filters(net, (1, 4), [(images[:64], labels[:64])], loss, eps=1e-6)
        >>> together = gs.safe_together(net, found, [(images[64:], labels[64:])], loss, eps=1e-6)
        >>> print(together.certified >= 2, gs.slim(net, together.plan())[0].out_channels == 6 - together.certified)
        True True
    """
    _check("safe_together", network, loss, eps)
    _check_safe(network, found)
    check_value("safe_together", "confidence", confidence, FRACTION)
    check_value("safe_together", "tests", tests, Whole(1))
    order = found.removable()
    sizes = tuple(np.unique(np.linspace(1, len(order), min(tests, len(order))).round().astype(int)).tolist())
    known = known_uses("safe_together", used, ledger, reuse)
    rises, images = loss_increase("safe_together", network, found.grouping, [order[:size] for size in sizes], data,
                                  loss, _unseen(found, known))
    earlier = known.record(images, "a test of safe filters together")
    cost = rises.mean(0)
    p_values = equivalence_p_values(cost, rises.std(0, ddof=1), len(rises), eps)
    passed = sets_passed(p_values, confidence)
    return SafeTogether(found.grouping, tuple(order), sizes, tuple(cost.tolist()), tuple(p_values.tolist()),
                        sizes[passed - 1] if passed else 0, float(eps), float(confidence), found.network, images,
                        earlier, known.name)


def sets_passed(p_values: np.ndarray, confidence: float) -> int:
    """How many tests pass, in their order, before the first that does not."""
    return int(np.logical_and.accumulate(p_values <= 1 - confidence).sum())


def _unseen(found: SafeFilters, known: KnownUses) -> Callable[[Sequence[str]], None]:
    """Refuses images that found the filters, whatever else is declared: the order of the sets would come from them."""
    def check(batch: Sequence[str]) -> None:
        again = found.data.samples.intersection(batch)
        if again:
            raise ArgumentError(f"For 'safe_together', no image of 'data' must have been used to find the filters, but "
                                f"{len(again):,} of {len(batch):,} were.")
        known.check(batch)
    return check


def _check_safe(network: nn.Cell, found: Any) -> None:
    if not isinstance(found, SafeFilters):
        raise ArgumentTypeError(f"For 'safe_together', 'found' must be what 'safe_filters' returns, but got "
                                f"{type(found).__name__}.")
    if network_digest(network) != found.network:
        raise ArgumentError("For 'safe_together', 'found' must be of 'network' as it is, but is of another one or of "
                            "other weights.")
    if not found.removable():
        raise ArgumentError("For 'safe_together', 'found' must hold a safe filter that can go, but holds none.")


def _check(owner: str, network: Any, loss: Any, eps: Any) -> None:
    if not (isinstance(network, nn.Cell) and isinstance(loss, nn.Cell)):
        raise ArgumentTypeError(f"For '{owner}', both 'network' and 'loss' must be Cells, but got "
                                f"{type(network).__name__} and {type(loss).__name__}.")
    check_value(owner, "eps", eps, Interval(0.0, float("inf"), open=True))
