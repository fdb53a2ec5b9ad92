"""What must hold for a selection by knockoff+ to mean what it says, checked where it can be. See docs/scop.md."""
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Tuple

import numpy as np

from golden_stick.knockoffs.selection import least_passing
from golden_stick.scop.automatic import selected_filters
from golden_stick.scop.described import NOT_KNOWN
from golden_stick.scop.mixing import Schedule

__all__ = ["Condition", "conditions_of"]

_DUPLICATES = 0.99
_ENOUGH_DRAWS = 5
# What an input-level sampler's draws are, for all that is known of it here.
_CONTROLS = ("permutation", "noise", "generator")


@dataclass(frozen=True)
class Condition:
    """One condition: its number, whether it holds (None where that cannot be checked), and what was found."""

    name: str
    holds: Optional[bool]
    text: str

    def __str__(self) -> str:
        verdict = {True: "holds", False: "does NOT hold", None: "cannot be checked"}[self.holds]
        return f"{self.name} {verdict}: {self.text}"


def conditions_of(config: Mapping[str, Any], schedule: Schedule, statistics: Mapping[str, np.ndarray],
                  weights: Mapping[str, np.ndarray]) -> Tuple[Condition, ...]:
    """
    The nine conditions of a selection.

    Args:
        config (Mapping): Of `SCOP`; `sampler` may be the name of the one that the scales were trained with.
        schedule (Schedule): Of the knockoff phase.
        statistics (Mapping): Weight name -> W, shape (draws, filters).
        weights (Mapping): Weight name -> weight, filters along axis 0.

    Returns:
        tuple of Condition, C1 to C9.
    """
    rate = config["fdr"]
    chosen = np.concatenate(list(selected_filters(statistics, rate).values()))
    pooled = np.concatenate([rows.ravel() for rows in statistics.values()])
    return (
        Condition("C1", None, f"at most {rate:g} of the filters kept are null, on average; nothing is said of filters "
                              f"wrongly removed, nor of accuracy: see 'gs.certify' for that"),
        Condition("C2", None, "the null hypothesis is of the data's law: given all other channels of its layer, a "
                              "filter's tells nothing of the label; in early layers that is true of nearly all"),
        _duplicates(weights),
        Condition("C4", True if config["held_out"] else False,
                  "the scales saw data that the weights had not, as the configuration states" if config["held_out"] else
                  "the scales must be trained on data that the weights have not seen: nothing states it"),
        _isolated(schedule),
        _exchangeable(config["sampler"]),
        _enough(chosen, rate, schedule.draws),
        Condition("C8", bool((pooled < 0).any()), f"{(pooled < 0).mean():.1%} of the statistics are negative; with "
                                                  f"none, nothing is removed: the rule finds dead wood, and sets no "
                                                  f"rate"),
        Condition("C9", schedule.draws >= _ENOUGH_DRAWS,
                  f"draws are random: {schedule.draws} made, {_ENOUGH_DRAWS} are in place"),
    )


def _duplicates(weights: Mapping[str, np.ndarray]) -> Condition:
    pairs = 0
    for weight in weights.values():
        rows = weight.reshape(len(weight), -1).astype(np.float64)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows / np.where(norms > 0, norms, 1.0)
        pairs += int(np.triu(rows @ rows.T > _DUPLICATES, 1).sum())
    return Condition("C3", pairs == 0, f"{pairs} pairs of filters are nearly the same up to a factor: each of a pair "
                                       f"is null, both are not")


def _isolated(schedule: Schedule) -> Condition:
    sizes = [list(schedule.block_of.values()).count(block) for block in set(schedule.block_of.values())]
    return Condition("C5", max(sizes) == 1, f"one layer must mix at a time, and up to {max(sizes)} do ('mixing' is "
                                            f"{schedule.mixing!r}); normalizations use the trained statistics")


def _enough(chosen: np.ndarray, rate: float, draws: int) -> Condition:
    # What all draws together select can be less than each of them must find.
    in_a_draw = " in a draw" if draws > 1 else ""
    return Condition("C7", bool(chosen.any()), f"at least {least_passing(rate, draws)} filters must pass{in_a_draw} "
                                               f"for any to be selected, and {chosen.sum()} were")


def _exchangeable(sampler: Any) -> Condition:
    name = sampler if isinstance(sampler, str) else sampler.name
    if name == NOT_KNOWN:
        return Condition("C6", None, f"the sampler is {NOT_KNOWN}")
    if name == "feature":
        return Condition("C6", None, "second-order knockoffs of the channels that are swapped: exchangeable up to "
                                     "means and covariances at each position")
    if name in _CONTROLS:
        return Condition("C6", False, f"the sampler {name!r} draws controls: a part of a sample cannot be swapped with "
                                      f"a part of its control unnoticed")
    return Condition("C6", None, f"whether draws of {name!r} can be swapped with samples, 'gs.exchangeability' tells")
