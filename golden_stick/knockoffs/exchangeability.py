"""Are these knockoffs? Two-sample tests of swaps, gaps between moments, and whether labels leak."""
from dataclasses import asdict, dataclass
from typing import Any, Dict, Iterator, Optional, Tuple

import numpy as np
from scipy.spatial.distance import cdist

from golden_stick.base.config import Whole, check_value
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.base.inputs import progress

__all__ = ["Exchangeability", "exchangeability"]


# Above the one or below the other, what was drawn is a control and no knockoff.
LARGEST_GAP, SMALLEST_P = 0.2, 0.01
# Below this share of all covariances, variables count as uncorrelated, and a gap is measured against the variances.
_UNCORRELATED = 0.05
_SUBSETS, _STATISTICS = 4, 2
# With fewer, no partial swap could have a p-value below SMALLEST_P, whatever the data.
_FEWEST_PERMUTATIONS = int(_SUBSETS * _STATISTICS / SMALLEST_P)
_RIDGE = 1e-3


@dataclass(frozen=True)
class Exchangeability:
    """
    How a sample and its knockoffs compare.

    Args:
        samples (int): Pairs that were compared.
        variables (int): Variables that were compared, drawn at random if there were more.
        moment_gap (float): How far the covariance of the knockoffs is from that of the sample, relative to it; 0 is
            best.
        cross_gap (float): How far the covariance of each variable with the *other* variables' knockoffs is from that
            with the other variables, relative to it. 0 for knockoffs, about 1 for an independent draw.
        self_correlation (float): Mean absolute correlation of a variable with its own knockoff, in [0, 1]. Near 1, a
            knockoff says nothing.
        full_swap (float): p-value of: swapping all variables with their knockoffs changes nothing.
        partial_swap (float): p-value of: swapping some of them changes nothing (several subsets, Bonferroni).
        label_leak (float): p-value of: the knockoffs say nothing about the labels that the variables do not; None
            without labels.
        verdict (str): ``'knockoff'`` or ``'control'``.
    """

    samples: int
    variables: int
    moment_gap: float
    cross_gap: float
    self_correlation: float
    full_swap: float
    partial_swap: float
    label_leak: Optional[float]
    verdict: str

    def to_dict(self) -> Dict[str, Any]:
        """The same as plain data, fit for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        leak = "not tested: no labels" if self.label_leak is None else f"p = {self.label_leak:.3g}"
        rows = (
            ("covariances of the knockoffs", f"{self.moment_gap:.3f}", "0 if they are those of the variables"),
            ("covariances across", f"{self.cross_gap:.3f}", "0 for knockoffs, about 1 for an independent draw"),
            ("correlation with its own knockoff", f"{self.self_correlation:.3f}", "the lower, the more power"),
            ("all variables swapped", f"p = {self.full_swap:.3g}", "any marginal difference shows here"),
            ("some variables swapped", f"p = {self.partial_swap:.3g}", "what makes a knockoff more than a control"),
            ("labels leak", leak, "the labels must have had no part in the draw"),
        )
        table = "\n".join(f"  {name:<34} {value:<22} {meaning}" for name, value, meaning in rows)
        head = f"{self.samples} pairs of {self.variables} variables"
        return f"{head}\n{table}\nverdict: {self.verdict}\n{self._meaning()}"

    def _meaning(self) -> str:
        if self.verdict == "knockoff":
            return ("No test tells variables and knockoffs apart under swaps. Selection by knockoff+ then keeps its\n"
                    "false discovery rate, if the statistics were computed on data that the weights have not seen.\n"
                    "A test that finds nothing is no proof: more samples may find more.")
        return ("These are controls: draws that know nothing of the label, but whose swaps can be seen. Rankings by\n"
                "them are as good as any; a false discovery rate is not guaranteed. " + "; ".join(self._faults()) + ".")

    def _faults(self) -> Iterator[str]:
        if self.cross_gap > LARGEST_GAP:
            yield f"covariances across are off by {self.cross_gap:.2f} (more than {LARGEST_GAP})"
        if self.moment_gap > LARGEST_GAP:
            yield f"covariances of the knockoffs are off by {self.moment_gap:.2f} (more than {LARGEST_GAP})"
        for name, p in (("swapping all", self.full_swap), ("swapping some", self.partial_swap)):
            if p < SMALLEST_P:
                yield f"{name} variables shows, p = {p:.2g}"
        if self.label_leak is not None and self.label_leak < SMALLEST_P:
            yield f"knockoffs know of the labels, p = {self.label_leak:.2g}"


@progress("testing exchangeability")
def exchangeability(real: Any, knockoffs: Any, labels: Any = None, seed: int = 0, permutations: int = 1999,
                    max_samples: int = 1000, max_variables: int = 64) -> Exchangeability:
    """
    Whether draws are knockoffs of a sample, as far as tests can tell.

    The swap tests compare one half of the pairs as they are with the other half swapped: two samples of one
    distribution if the draws are knockoffs, so that the p-values by permutation are exact. The statistics are the
    energy distance and the squared distance of the covariances, of which the smaller p-value counts twice. Halves of
    the variables, chosen at random four times, are swapped for the partial swap.

    Source: the statistics are among those of Romano, Sesia, Candes, *Deep Knockoffs*, 2020,
    https://arxiv.org/abs/1811.06687; the test for leaks permutes residuals (Freedman, Lane, 1983,
    https://doi.org/10.2307/1391660).

    Args:
        real (array): The sample, shape (samples, ...); all further axes are variables.
        knockoffs (array): A draw for each, of the same shape.
        labels (array): Class of each, int, shape (samples,). Default: ``None``, leaks are not tested.
        seed (int): Of the choices and permutations. Default: 0.
        permutations (int): How many, at least 800. The smallest p-value that there can be is
            ``2 / (permutations + 1)`` where all variables are swapped, ``8 / (permutations + 1)`` where some are (four
            halves, two statistics), and ``1 / (permutations + 1)`` for labels. Default: 1999.
        max_samples (int): More are left out at random. Default: 1000.
        max_variables (int): More are left out at random, which exchangeability survives. Default: 64.

    Returns:
        Exchangeability.

    Raises:
        ArgumentTypeError: If `real` or `knockoffs` is not an array of numbers, or `permutations` not a whole number.
        ArgumentError: If the shapes do not fit, there are fewer than 20 samples, a number is not finite, or there are
            so few permutations that no partial swap could ever be found.

    Examples:
        >>> import numpy as np
        >>> import golden_stick as gs
        >>> generator = np.random.default_rng(0)
        >>> data = generator.normal(size=(400, 8)) @ generator.normal(size=(8, 8))
        >>> print(gs.exchangeability(data, np.roll(data, 1, axis=0)).verdict)
        control
    """
    first, second = _as_rows("real", real), _as_rows("knockoffs", knockoffs)
    if first.shape != second.shape:
        raise ArgumentError(f"For 'exchangeability', 'knockoffs' must have the shape of 'real', {np.shape(real)}, "
                            f"but got {np.shape(knockoffs)}.")
    if len(first) < 20:
        raise ArgumentError(f"For 'exchangeability', there must be at least 20 samples, but got {len(first)}.")
    check_value("exchangeability", "permutations", permutations, Whole(_FEWEST_PERMUTATIONS))
    classes = None if labels is None else _as_labels(labels, len(first))
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(first))[:max_samples]
    columns = np.sort(generator.permutation(first.shape[1])[:max_variables])
    x, y = _standardized(first[np.ix_(rows, columns)], second[np.ix_(rows, columns)])
    moment_gap, cross_gap = _gaps(x, y)
    full = _swap_test(x, y, np.ones(x.shape[1], bool), generator, permutations)
    subsets = [_half_of(x.shape[1], generator) for _ in range(_SUBSETS)]
    partial = min(1.0, _SUBSETS * min(_swap_test(x, y, subset, generator, permutations) for subset in subsets))
    leak = None if classes is None else _leak(x, y, classes[rows], generator, permutations)
    worst = min(p for p in (full, partial, leak) if p is not None)
    good = max(moment_gap, cross_gap) <= LARGEST_GAP and worst >= SMALLEST_P
    own = np.abs((x * y).mean(0) / np.maximum(x.std(0) * y.std(0), np.finfo(float).tiny))
    return Exchangeability(len(x), x.shape[1], moment_gap, cross_gap, float(own.mean()), full, partial, leak,
                           "knockoff" if good else "control")


def _as_rows(name: str, array: Any) -> np.ndarray:
    try:
        rows = np.asarray(array.asnumpy() if hasattr(array, "asnumpy") else array, np.float64)
        rows = rows.reshape(len(rows), -1)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(f"For 'exchangeability', '{name}' must be an array of numbers, samples along axis 0, "
                                f"but got {type(array).__name__}.") from error
    if not np.isfinite(rows).all():
        raise ArgumentError(f"For 'exchangeability', '{name}' must hold no NaN and no infinity, but got one.")
    return rows


def _as_labels(labels: Any, count: int) -> np.ndarray:
    classes = np.asarray(labels.asnumpy() if hasattr(labels, "asnumpy") else labels)
    if classes.shape != (count,):
        raise ArgumentError(f"For 'exchangeability', 'labels' must be one number for each of {count} samples, but got "
                            f"shape {classes.shape}.")
    return classes


def _standardized(x: np.ndarray, y: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Both on the scale of the two together, which no swap changes."""
    center = (x.mean(0) + y.mean(0)) / 2
    scale = np.sqrt((((x - center) ** 2).mean(0) + ((y - center) ** 2).mean(0)) / 2)
    scale[scale == 0] = 1.0
    return (x - center) / scale, (y - center) / scale


def _gaps(x: np.ndarray, y: np.ndarray) -> Tuple[float, float]:
    """Gaps of covariances, from products of two halves: squares of one sample's would count its noise."""
    halves = []
    for rows in (slice(0, None, 2), slice(1, None, 2)):
        one, other = x[rows] - x[rows].mean(0), y[rows] - y[rows].mean(0)
        halves.append((one.T @ one / len(one), other.T @ other / len(one), one.T @ other / len(one)))
    of_x, of_y, across = map(np.array, zip(*halves))
    apart = ~np.eye(x.shape[1], dtype=bool)
    whole, inner, moment, cross = (max(0.0, float((first * second).sum())) for first, second in (
        of_x, of_x[:, apart], of_y - of_x, (across - of_x)[:, apart]))
    reference = inner if inner > _UNCORRELATED ** 2 * whole else whole
    return float(np.sqrt(moment / whole)), float(np.sqrt(cross / reference))


def _half_of(count: int, generator: np.random.Generator) -> np.ndarray:
    """Half of the variables, never none; and never all if there are several: that would be the full swap again."""
    return generator.permutation(count) < max(1, count // 2)


def _swap_test(x: np.ndarray, y: np.ndarray, swapped: np.ndarray, generator: np.random.Generator,
               permutations: int) -> float:
    """p-value of: pairs of which these variables are swapped come from the distribution of the pairs."""
    straight, crossed = np.concatenate([x, y], 1), np.concatenate(
        [np.where(swapped, y, x), np.where(swapped, x, y)], 1)
    # Two samples of one size make both statistics quadratic forms of signs; of an odd number, one pair is left aside.
    half = len(x) // 2
    pooled = np.concatenate([straight[:half], crossed[half:2 * half]])
    first = np.repeat([1.0, -1.0], half)
    signs = np.array([first] + [generator.permutation(first) for _ in range(permutations)])
    return min(1.0, _STATISTICS * min(_rank(statistic(pooled, signs)) for statistic in (_energy, _covariances)))


def _rank(statistics: np.ndarray) -> float:
    return float((statistics >= statistics[0] * (1 - 1e-12)).mean())


def _energy(pooled: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """The energy distance of two samples of one size, twice the mean distance across less those inside: one for every
    row of signs, 1 where a pooled row is of the first sample and -1 where of the other."""
    return -((signs @ cdist(pooled, pooled)) * signs).sum(1) / (len(pooled) // 2) ** 2


def _covariances(pooled: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """The same of the squared distance of the covariances of the samples, both taken about the mean of all rows, where
    their means are each other's opposite and make no difference."""
    centered = pooled - pooled.mean(0)
    scale = (len(pooled) // 2 - 1) ** 2
    if pooled.shape[1] ** 2 < len(pooled):
        products = (centered[:, :, None] * centered[:, None]).reshape(len(pooled), -1)
        return ((signs @ products) ** 2).sum(1) / scale
    return ((signs @ (centered @ centered.T) ** 2) * signs).sum(1) / scale


def _leak(x: np.ndarray, y: np.ndarray, labels: np.ndarray, generator: np.random.Generator, permutations: int) -> float:
    """p-value of: given the variables, knockoffs say nothing of the labels. Linear, by residuals."""
    classes = (labels[:, None] == np.unique(labels)).astype(np.float64)
    basis = np.concatenate([np.ones((len(x), 1)), x], 1)
    inverse = np.linalg.solve(basis.T @ basis + _RIDGE * len(x) * np.eye(basis.shape[1]), basis.T)
    rest = [target - basis @ (inverse @ target) for target in (classes, y)]
    orders = [np.arange(len(x))] + [generator.permutation(len(x)) for _ in range(permutations)]
    return _rank(np.array([((rest[0].T @ rest[1][order]) ** 2).sum() for order in orders]))
