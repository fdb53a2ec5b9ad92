"""`safe_together`: how many of the safe filters can go at once, by a test of what they cost together."""
from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import numpy as np
from mindspore import nn

from golden_stick.base.config import Fraction, Interval, Whole, check_value
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.base.files import versions, write_record
from golden_stick.certify.ablation import loss_increase
from golden_stick.certify.equivalence import equivalence_p_values
from golden_stick.certify.fingerprints import DataFingerprint, network_digest
from golden_stick.certify.prior_use import KnownUses, OnFreshImages, known_uses, with_caveats
from golden_stick.certify.safe_filters import SafeFilters
from golden_stick.graph.groups import Grouping
from golden_stick.graph.plan import PruningPlan, plan_without

__all__ = ["SafeTogether", "safe_together", "sets_passed"]


_KIND = "golden_stick safe set"


@dataclass(frozen=True, eq=False)
class SafeTogether(OnFreshImages):
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
        return "\n".join([self.statement, *(f"used before: {use}" for use in self.used_before)])

    @property
    def statement(self) -> str:
        """What is shown of the set; with a warning where that does not hold."""
        return with_caveats(f"{self._shown()}.", self.used_before, self.ledger, "THE CONFIDENCE")

    def _shown(self) -> str:
        if not self.certified:
            return (f"none of {len(self.order)} channels can go with the mean loss shown to rise by less than "
                    f"{self.eps:g} (confidence {self.confidence:g}, {self.data.images:,} images)")
        cost = self.cost[self.sizes.index(self.certified)]
        return (f"{self.certified} of {len(self.order)} channels go together: without them the mean loss rises by less "
                f"than {self.eps:g}, with confidence {self.confidence:g} (observed: {cost:+.6f} on "
                f"{self.data.images:,} images that chose nothing)")

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return {"statement": self.statement, "holds": self.holds, "used_before": list(self.used_before),
                "ledger": self.ledger, "removed": list(self.removed), "order": list(self.order),
                "sizes": list(self.sizes), "cost": list(self.cost), "p_values": list(self.p_values), "eps": self.eps,
                "confidence": self.confidence, "network": self.network, "data": self.data.digest,
                "images": self.data.images, "versions": versions()}

    def save(self, path: str) -> str:
        """
        Write `to_dict` as JSON; returns the path.

        Raises:
            CheckpointError: If the file cannot be written there.
        """
        write_record("safe_together", path, _KIND, self.to_dict())
        return path


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
        used (Sequence): What was used to train or choose, as of :func:`golden_stick.certify`. Default: none.
        reuse (str): What happens if an image was used before, but not to find these filters: ``'refuse'``, an error;
            ``'declare'``, a result that says that its confidence does not hold. Default: ``'refuse'``.
        ledger (str): File that lists used images, which is read, and added to. Default: ``None``, none.

    Returns:
        SafeTogether. ``gs.slim(network, result.plan())`` removes them.

    Raises:
        ArgumentTypeError: If an argument is of another type.
        ArgumentError: If a value is out of range, `found` is of another network or holds no safe filter, an image has
            been used to find the filters, or the loss is not one finite number for each image.
        StateError: If an image was used before, unless `reuse` is ``'declare'``.
        CheckpointError: If the ledger or a fingerprint is damaged, or the ledger cannot be written.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import golden_stick as gs
        >>> import numpy as np
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Dense(4, 6), nn.ReLU(), nn.Dense(6, 3))
        >>> net[2].weight[:, 1:3] = 0.0
        >>> images, labels = np.random.rand(128, 4).astype(np.float32), np.random.randint(0, 3, 128).astype(np.int32)
        >>> loss = nn.CrossEntropyLoss(reduction="none")
        >>> found = gs.safe_filters(net, (1, 4), [(images[:64], labels[:64])], loss, eps=1e-6)
        >>> together = gs.safe_together(net, found, [(images[64:], labels[64:])], loss, eps=1e-6)
        >>> print(together.certified >= 2, gs.slim(net, together.plan())[0].out_channels == 6 - together.certified)
        True True
    """
    _check(network, found, loss, eps, confidence, tests)
    order = found.removable()
    count = min(tests, len(order))
    sizes = tuple(int(size) for size in np.unique(np.linspace(1, len(order), count).round().astype(int)))
    known = known_uses("safe_together", used, ledger, reuse)
    differences, images = loss_increase("safe_together", network, found.grouping,
                                        [order[:size] for size in sizes], data, loss, _unseen(found, known))
    earlier = known.record(images, "a test of safe filters together")
    cost = differences.mean(0)
    p_values = equivalence_p_values(cost, differences.std(0, ddof=1), images.images, eps)
    passed = sets_passed(p_values, confidence)
    return SafeTogether(found.grouping, tuple(order), sizes, tuple(cost.tolist()), tuple(p_values.tolist()),
                        sizes[passed - 1] if passed else 0, float(eps), float(confidence), found.network, images,
                        earlier, known.name)


def sets_passed(p_values: np.ndarray, confidence: float) -> int:
    """How many tests pass, in their order, before the first that does not."""
    return int(np.logical_and.accumulate(np.asarray(p_values) <= 1 - confidence).sum())


def _unseen(found: SafeFilters, known: KnownUses) -> Callable[[DataFingerprint], None]:
    """Refuses images that found the filters, whatever else is declared: the order of the sets would come from them."""
    def check(batch: DataFingerprint) -> None:
        again = batch.samples & found.data.samples
        if again:
            raise ArgumentError(f"For 'safe_together', no image of 'data' must have been used to find the filters, but "
                                f"{len(again):,} of {batch.images:,} were.")
        known.check(batch)
    return check


def _check(network: Any, found: Any, loss: Any, eps: Any, confidence: Any, tests: Any) -> None:
    if not (isinstance(network, nn.Cell) and isinstance(loss, nn.Cell)):
        raise ArgumentTypeError(f"For 'safe_together', both 'network' and 'loss' must be Cells, but got "
                                f"{type(network).__name__} and {type(loss).__name__}.")
    if not isinstance(found, SafeFilters):
        raise ArgumentTypeError(f"For 'safe_together', 'found' must be what 'safe_filters' returns, but got "
                                f"{type(found).__name__}.")
    check_value("safe_together", "eps", eps, Interval(1e-12, float("inf")))
    check_value("safe_together", "confidence", confidence, Fraction())
    check_value("safe_together", "tests", tests, Whole(1))
    if network_digest(network) != found.network:
        raise ArgumentError("For 'safe_together', 'found' must be of 'network' as it is, but is of another one or of "
                            "other weights.")
    if not found.removable():
        raise ArgumentError("For 'safe_together', 'found' must hold a safe filter that can go, but holds none.")
