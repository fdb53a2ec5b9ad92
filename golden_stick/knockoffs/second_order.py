"""Second-order (Gaussian) knockoffs: for each variable, how far its knockoff may be from it, and draws."""
from dataclasses import dataclass
from typing import Callable, Iterable, Mapping, Optional

import numpy as np

from golden_stick.base.devices import gathered, ranks
from golden_stick.base.errors import ArgumentError

__all__ = ["METHODS", "Moments", "RunningMoments", "SecondOrder", "equicorrelated", "minimum_variance", "moments_of",
           "semidefinite"]


# Correlations are shrunk by so much towards none: a sample's may be singular, and then no knockoff differs.
_SHRINKAGE = 1e-4
_SWEEPS = 100
_CONVERGED = 1e-6


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of a data set, float64."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int  # samples that they were computed from


class RunningMoments:
    """
    Mean and covariance, in one pass over rows that need not fit into memory together.

    Source: Chan, Golub, LeVeque, *Updating Formulae and a Pairwise Algorithm for Computing Sample Variances*, 1979,
    http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean, self._scatter = np.zeros(1), np.zeros((1, 1))

    def update(self, batch: np.ndarray) -> None:
        """Take more rows in, shape (samples, variables)."""
        rows = np.asarray(batch, np.float64)
        if not np.isfinite(rows).all():
            raise ArgumentError("For 'moments_of', every number must be finite, but got NaN or infinity.")
        own = rows.mean(0)
        self._join(len(rows), own, (rows - own).T @ (rows - own))

    def add_others(self) -> None:
        """Take the rows of all processes in."""
        if ranks() > 1:
            parts = zip(*map(gathered, (np.array(self.count), self._mean, self._scatter)))
            self.count, self._mean, self._scatter = 0, np.zeros(1), np.zeros((1, 1))
            for count, mean, scatter in parts:
                if count:
                    self._join(int(count), mean, scatter)

    def _join(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        total, shift = self.count + count, mean - self._mean
        self._scatter = self._scatter + scatter + np.outer(shift, shift) * (self.count * count / total)
        self._mean = self._mean + shift * (count / total)
        self.count = total

    def moments(self) -> Moments:
        """Those of all rows so far, of which there must be two."""
        if self.count < 2:
            raise ArgumentError(f"For 'moments_of', there must be at least 2 samples, but got {self.count}.")
        return Moments(self._mean, self._scatter / (self.count - 1), self.count)


def moments_of(batches: Iterable[np.ndarray], progress: Optional[Callable[[int], None]] = None) -> Moments:
    """Those of batches of shape (samples, variables), of all processes; `progress` hears how many were seen by now."""
    running = RunningMoments()
    for batch in batches:
        running.update(batch)
        if progress is not None:
            progress(running.count)
    running.add_others()
    return running.moments()


def equicorrelated(correlation: np.ndarray) -> np.ndarray:
    """
    The same distance for all variables: ``min(1, 2 * smallest eigenvalue)``.

    As the other methods: from a correlation matrix, positive definite, to distances, shape (variables,), in [0, 1].

    Source: Barber, Candes, *Controlling the false discovery rate via knockoffs*, 2015,
    https://arxiv.org/abs/1404.5609
    """
    return np.full(len(correlation), min(1.0, 2.0 * float(np.linalg.eigvalsh(correlation)[0])))


def semidefinite(correlation: np.ndarray) -> np.ndarray:
    """
    The largest sum of distances for which ``2 * correlation - diag(distances)`` has no negative eigenvalue.

    By coordinates, with a barrier that goes to zero: for one coordinate, the best step has a closed form.

    Source: Candes et al., *Panning for gold*, 2018, https://arxiv.org/abs/1610.02351; the barrier as in Askari et al.,
    *FANOK*, 2021, https://arxiv.org/abs/2006.08790
    """
    distances, barrier = equicorrelated(correlation) / 2, 0.1
    while barrier > _CONVERGED:
        distances = _by_coordinates(correlation, distances, lambda s, inverse, j, b=barrier: np.clip(
            s[j] + 1.0 / inverse[j, j] - b, 0.0, 1.0) - s[j])
        barrier /= 4.0
    return distances


def minimum_variance(correlation: np.ndarray) -> np.ndarray:
    """
    The distances for which no variable can be told well from all others and all knockoffs: MVR knockoffs.

    They minimise the trace of the inverse of the joint correlation of variables and knockoffs. Where variables are
    correlated, they find more than `semidefinite` does.

    Source: Spector, Janson, *Powerful knockoffs via minimizing reconstructability*, 2022,
    https://arxiv.org/abs/2011.14625
    """
    def step(distances: np.ndarray, inverse: np.ndarray, j: int) -> float:
        # Where the derivatives of 1 / s and of the trace of the inverse cancel.
        norm = np.linalg.norm(inverse[j])
        return min((1.0 - distances[j] * norm) / (norm + inverse[j, j]), 1.0 - distances[j])
    return _by_coordinates(correlation, equicorrelated(correlation) / 2, step)


METHODS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "equi": equicorrelated, "sdp": semidefinite, "mvr": minimum_variance,
}


def _by_coordinates(correlation: np.ndarray, start: np.ndarray, step: Callable[..., float]) -> np.ndarray:
    """Sweeps over the coordinates until none moves. The inverse is renewed with each sweep, updated within."""
    distances = start.copy()
    for _ in range(_SWEEPS):
        inverse, largest = np.linalg.inv(2.0 * correlation - np.diag(distances)), 0.0
        for j in range(len(distances)):
            move = step(distances, inverse, j)
            column = inverse[:, j]
            inverse = inverse + np.outer(column, column) * (move / (1.0 - move * column[j]))
            distances[j] += move
            largest = max(largest, abs(move))
        if largest < _CONVERGED:
            break
    return distances


class SecondOrder:
    """
    Draws knockoffs that have mean and covariances with all variables as Model-X asks for; for Gaussian data, all of it.

    Given x, a knockoff is Gaussian with mean ``x - (x - mean) @ inv(S) @ D`` and covariance ``2 D - D @ inv(S) @ D``,
    where S is the covariance and D the diagonal matrix of the distances.

    Source: Candes et al., *Panning for gold: Model-X knockoffs for high-dimensional controlled variable selection*,
    2018, https://arxiv.org/abs/1610.02351

    `law` is what a draw takes: mean and deviation; by products from the right, what a standardized sample loses and
    what noise it gets.

    Examples:
        >>> import numpy as np
        >>> from golden_stick.knockoffs.second_order import SecondOrder, moments_of
        >>> data = np.random.default_rng(0).normal(size=(1000, 4))
        >>> knockoffs = SecondOrder(moments_of([data])).draw(data, np.random.default_rng(1))
        >>> print(knockoffs.shape)
        (1000, 4)
    """

    def __init__(self, moments: Moments, method: str = "mvr"):
        if method not in METHODS:
            raise ArgumentError(f"For 'SecondOrder', 'method' must be a way to choose distances "
                                f"({', '.join(METHODS)}), but got {method!r}.")
        deviation = np.sqrt(np.diag(moments.covariance))
        if not deviation.all():
            raise ArgumentError(f"For 'SecondOrder', every variable must vary, but variable "
                                f"{int(np.argmin(deviation))} is constant.")
        correlation = moments.covariance / np.outer(deviation, deviation)
        correlation = (1.0 - _SHRINKAGE) * correlation + _SHRINKAGE * np.eye(len(correlation))
        self.distances = METHODS[method](correlation)
        shift = np.linalg.solve(correlation, np.diag(self.distances))
        values, vectors = np.linalg.eigh(2.0 * np.diag(self.distances) - self.distances[:, None] * shift)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        self.law = moments.mean, deviation, shift, root.T

    def draw(self, data: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """A knockoff of every sample, float64, shape (samples, variables), as `data`."""
        mean, deviation, shift, root = self.law
        standard = (np.asarray(data, np.float64) - mean) / deviation
        made = standard - standard @ shift + generator.normal(size=standard.shape) @ root
        return made * deviation + mean
