"""What a knockoff phase found: which filters knockoff+ selects, on what conditions, and what reports and cards say."""
from dataclasses import asdict, dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor
from mindspore.train import Callback, SummaryRecord
from scipy.stats import rankdata

from golden_stick.base.errors import CheckpointError, StateError, first_line
from golden_stick.base.files import PathLike, digest_of, path_of
from golden_stick.cells.wrappers import decoded, encoded
from golden_stick.graph.groups import Grouping
from golden_stick.knockoffs.selection import least_passing, select, select_derandomized
from golden_stick.prune.plan import group_importance
from golden_stick.prune.pruner import Findings
from golden_stick.scop.samplers import FeatureSampler, Sampler
from golden_stick.scop.scales import Mixing

__all__ = ["Condition", "DESCRIPTION", "ScaleHistory", "ScaleSummary", "conditions_of", "describe_sampler",
           "description_in", "encoded_description", "findings_of", "rank_correlation", "selected_filters",
           "unselected_channels"]


# A checkpoint of the phase tells by this parameter what its scales were trained with: bytes of JSON. A checkpoint that
# is read must have the shapes of the phase, whatever sampler either has, so all are of one length.
DESCRIPTION = "mixing.sampler"
_LENGTH = 512


def describe_sampler(sampler: Union[Sampler, FeatureSampler], fit: Iterable[Parameter] = ()) -> Dict[str, Any]:
    """
    What is to be said of a sampler, fit for JSON: `name`; `method`, `grid`, `positions` and `seed` where it has them;
    and as `fit` a digest of what it has fitted, or of the weights of its generator.
    """
    description: Dict[str, Any] = {"name": str(sampler.name)}
    for key in ("method", "grid", "positions", "seed"):
        if isinstance(getattr(sampler, key, None), (str, int)):
            description[key] = getattr(sampler, key)
    parts = [part for item in fit for part in (f"{item.name} {item.shape}", item.asnumpy())]
    return {**description, "fit": digest_of(parts)[:16]} if parts else description


def encoded_description(description: Mapping[str, Any]) -> np.ndarray:
    """A description as bytes of JSON, uint8. Of one that is too long, the beginning of its name."""
    text = encoded(dict(description))
    if len(text) > _LENGTH:
        text = encoded({"name": description["name"][:_LENGTH // 8]})
    return np.pad(text, (0, _LENGTH - len(text)), constant_values=ord(" "))


def description_in(values: Mapping[str, np.ndarray]) -> Dict[str, Any]:
    """What the parameters of a phase, by name, tell of its sampler."""
    if DESCRIPTION not in values:
        raise CheckpointError(f"For 'SCOP', a checkpoint of the knockoff phase must hold '{DESCRIPTION}', which tells "
                              f"what its scales were trained with, but got none.")
    return decoded(values[DESCRIPTION])


def selected_filters(statistics: Mapping[str, np.ndarray], rate: float) -> Dict[str, np.ndarray]:
    """
    Which filters knockoff+ selects, of all layers together: weight name -> W, shape (draws, filters); and -> bool.

    A layer's statistics are divided by their mean magnitude, which knows nothing of signs, so that no layer outweighs
    another by its unit.
    """
    draws = np.concatenate([_in_one_unit(rows) for rows in statistics.values()], axis=1)
    selected = select(draws[0], rate) if len(draws) == 1 else select_derandomized(list(draws), rate)
    ends = np.cumsum([rows.shape[1] for rows in statistics.values()])
    return dict(zip(statistics, np.split(selected, ends[:-1])))


def _in_one_unit(rows: np.ndarray) -> np.ndarray:
    unit = np.abs(rows).mean(axis=1, keepdims=True)
    return rows / np.where(unit > 0, unit, 1.0)


def unselected_channels(grouping: Grouping, statistics: Mapping[str, np.ndarray], rate: float
                        ) -> Tuple[Dict[str, np.ndarray], Dict[str, int]]:
    """
    By the names of groups: the importance of their channels, and how many go, those that knockoff+ does not select.

    Groups without statistics have no entry. A channel that several filters make goes if none of them is selected. That
    knockoff+ selects nothing is refused: it says that it can tell nothing apart, not that all may go.
    """
    selected = selected_filters(statistics, rate)
    if not any(kept.any() for kept in selected.values()):
        draws = len(next(iter(statistics.values())))
        raise StateError(f"For 'SCOP', knockoff+ must select a filter for 'prune_rate' 'auto' to say what goes, but "
                         f"selects none of {sum(map(len, selected.values())):,} at 'fdr' {rate:g}, of which at "
                         f"least {least_passing(rate, draws)} must pass where 'draws' is {draws}: raise "
                         f"'fdr', let it decide over more layers, take fewer draws, train the scales for longer, or "
                         f"set 'prune_rate' to a number.")
    scores = {weight: _in_one_unit(rows).mean(axis=0) for weight, rows in statistics.items()}
    votes = {weight: np.where(kept, 1.0, -1.0) for weight, kept in selected.items()}
    importance, counts = {}, {}
    for group in grouping:
        score, vote = (group_importance(group, of_filters, reduction, "none")
                       for of_filters, reduction in ((scores, "mean"), (votes, "max")))
        if score is None or vote is None:
            continue
        # A channel of which there are no statistics has a vote of 0: nothing says that it may go.
        kept = vote >= 0
        # All that are selected stand above all that are not.
        importance[group.name] = score + np.where(kept, 1.0 + np.ptp(score), 0.0)
        counts[group.name] = int((~kept).sum())
    return importance, counts


def rank_correlation(scores: Mapping[str, np.ndarray], gammas: Mapping[str, np.ndarray]) -> float:
    """
    Median over layers of Spearman's rank correlation between scores and magnitudes, such as ``|gamma|``; NaN if no
    layer has any with differing values. At 1 with ``|gamma|`` the knockoffs have said nothing that the normalization's
    scale had not.
    """
    ranks = [(rankdata(scores[layer]), rankdata(np.abs(gamma))) for layer, gamma in gammas.items() if layer in scores]
    correlations = [np.corrcoef(*pair)[0, 1] for pair in ranks if all(np.ptp(item) > 0 for item in pair)]
    return float(np.median(correlations)) if correlations else float("nan")


_DUPLICATES = 0.99
_ENOUGH_DRAWS = 5
# What an input-level sampler's draws are, for all that is known of it here.
_CONTROLS = ("permutation", "noise", "generator")


@dataclass(frozen=True)
class Condition:
    """One condition of a selection: its number, whether it holds (None where nothing can tell), and why."""

    name: str
    holds: Optional[bool]
    text: str

    def __str__(self) -> str:
        verdict = {True: "holds", False: "does NOT hold", None: "cannot be checked"}[self.holds]
        return f"{self.name} {verdict}: {self.text}"


def conditions_of(rate: float, held_out: bool, sampler: str, mixing: Mixing, statistics: Mapping[str, np.ndarray],
                  weights: Mapping[str, np.ndarray]) -> Tuple[Condition, ...]:
    """The nine conditions of a selection. `sampler` is a name; `weights` have their filters along axis 0."""
    selected = sum(np.count_nonzero(kept) for kept in selected_filters(statistics, rate).values())
    negative = np.concatenate([rows.ravel() for rows in statistics.values()]) < 0
    pairs = sum(map(_nearly_equal, weights.values()))
    together = max(list(mixing.block_of.values()).count(block) for block in set(mixing.block_of.values()))
    # What all draws together select can be less than each of them must find.
    in_a_draw = " in a draw" if mixing.draws > 1 else ""
    verdicts = (
        (None, f"at most {rate:g} of the filters kept are null, on average; nothing is said of filters wrongly "
               f"removed, nor of accuracy: see 'gs.certify' for that"),
        (None, "the null hypothesis is of the data's law: given all other channels of its layer, a filter's tells "
               "nothing of the label; in early layers that is true of nearly all"),
        (pairs == 0, f"{pairs} pairs of filters are nearly the same up to a factor: each of a pair is null, both are "
                     f"not"),
        (held_out, "the scales saw data that the weights had not, as the configuration states" if held_out else
                   "the scales must be trained on data that the weights have not seen: nothing states it"),
        (together == 1, f"one layer must mix at a time, and up to {together} do ('mixing' is {mixing.unit!r}); "
                        f"normalizations use the trained statistics"),
        _exchangeable(sampler),
        (selected > 0, f"at least {least_passing(rate, mixing.draws)} filters must pass{in_a_draw} for any to be "
                       f"selected, and {selected} were"),
        (bool(negative.any()), f"{negative.mean():.1%} of the statistics are negative; with none, nothing is removed: "
                               f"the rule finds dead wood, and sets no rate"),
        (mixing.draws >= _ENOUGH_DRAWS, f"draws are random: {mixing.draws} made, {_ENOUGH_DRAWS} are in place"),
    )
    return tuple(Condition(f"C{number}", *verdict) for number, verdict in enumerate(verdicts, 1))


def _nearly_equal(weight: np.ndarray) -> int:
    """How many pairs of filters point the same way."""
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(norms > 0, norms, 1.0)
    return int(np.triu(rows @ rows.T > _DUPLICATES, 1).sum())


def _exchangeable(sampler: str) -> Tuple[Optional[bool], str]:
    if sampler == "feature":
        return None, ("second-order knockoffs of the channels that are swapped: exchangeable up to means and "
                      "covariances at each position")
    if sampler in _CONTROLS:
        return False, (f"the sampler {sampler!r} draws controls: a part of a sample cannot be swapped with a part of "
                       f"its control unnoticed")
    return None, f"whether draws of {sampler!r} can be swapped with samples, 'gs.exchangeability' tells"


_BINS = 10


def findings_of(held_out: bool, sampler: Mapping[str, Any], mixing: Mixing, scales: Mapping[str, np.ndarray],
                correlation: float, stability: float, conditions: Tuple[Condition, ...],
                over_time: Sequence[Mapping[str, float]] = ()) -> Findings:
    """
    What stood in for samples, as `describe_sampler` tells it, how it was mixed in, and what became of the scales, also
    `over_time`, as a `ScaleHistory` has it.

    `correlation` is that of the scores with ``|gamma|``, `stability` that of the squared gradients of one half of the
    passes with those of the other. Where a rate decides, there are no conditions.
    """
    pooled = np.concatenate([values.ravel() for values in scales.values()])
    below, above = float((pooled < 0.5).mean()), float((pooled > 0.99).mean())
    facts = {
        "sampler": sampler["name"], "seed": sampler.get("seed"),
        **{key: sampler[key] for key in ("method", "grid", "positions", "fit") if key in sampler},
        "draws": mixing.draws, "mixing": mixing.unit, "blocks": mixing.blocks, "turn_steps": mixing.turn_steps,
        "held_out": held_out,
        "scales": len(pooled), "histogram": np.histogram(pooled, _BINS, (0.0, 1.0))[0].tolist(),
        "below_half": below, "above_0.99": above,
        "rank_correlation": None if np.isnan(correlation) else correlation,
        "stability": None if np.isnan(stability) else stability,
        "conditions": [asdict(condition) for condition in conditions], "over_time": [dict(row) for row in over_time],
    }
    return Findings((
        ", ".join([f"sampler: {sampler['name']}",
                   *(f"{key} {value}" for key, value in sampler.items() if key != "name")]),
        str(mixing),
        "rank correlation of the scores with |gamma|" + (
            ": not defined, no layer has differing |gamma|" if np.isnan(correlation) else
            f", median over layers: {correlation:.2f}"),
        "rank correlation of the squared gradients of one half of the passes with those of the other" + (
            ": not defined" if np.isnan(stability) else f", median over layers: {stability:.2f}; near 1, more steps "
            "change little"),
        f"scales: {below:.0%} below 0.5, where the knockoff does better; {above:.0%} above 0.99, where scores are no "
        f"more than |gamma|",
        "scales trained on data that the weights have not seen, as the configuration states" if held_out else
        "scales trained on data that may have trained the weights: 'held_out' is not set",
        *map(str, conditions),
    ), facts)


# As many points make a curve.
_POINTS = 128
_LEVELS = {"decile_1": 0.1, "median": 0.5, "decile_9": 0.9}


class ScaleHistory:
    """The scales of a phase while they are trained: median and first and ninth decile, at steps evenly apart."""

    def __init__(self) -> None:
        self.last: Dict[str, float] = {}
        self._rows: List[Dict[str, float]] = []
        self._every, self._pooled = 1, np.zeros(0)

    def add(self, scales: Iterable[np.ndarray], step: Optional[int] = None) -> None:
        """All scales, as the optimizer left them after this step; without one, those that moved any are counted."""
        before, self._pooled = self._pooled, np.concatenate([scale.ravel() for scale in scales])
        if step is None:
            step = int(self.last.get("step", -1)) + (not np.array_equal(before, self._pooled))
        self.last = {"step": step, **{name: float(np.quantile(self._pooled, at)) for name, at in _LEVELS.items()}}
        if step % self._every == 0 and not any(row["step"] == step for row in self._rows[-1:]):
            self._rows.append(self.last)
        if len(self._rows) > _POINTS:
            self._every *= 2
            self._rows = [row for row in self._rows if row["step"] % self._every == 0]

    @property
    def rows(self) -> Tuple[Dict[str, float], ...]:
        """The step, and the scales there; the last step is always among them."""
        return tuple(self._rows + [self.last] * (bool(self.last) and self.last not in self._rows))


class ScaleSummary(Callback):
    """Writes what a `ScaleHistory` has after each step as scalars for MindInsight, beside those of SummaryCollector."""

    def __init__(self, folder: PathLike, history: ScaleHistory):
        super().__init__()
        self._folder, self._history = path_of("SCOP", folder), history
        self._record: Any = None

    def on_train_begin(self, run_context: Any) -> None:
        try:
            self._record = SummaryRecord(self._folder)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"For 'SCOP', 'summary_dir' must be a folder that can be written to, but got "
                                  f"'{self._folder}': {first_line(error)}") from error

    def on_train_step_end(self, run_context: Any) -> None:
        row = self._history.last
        for name in _LEVELS:
            self._record.add_value("scalar", f"scales/{name}", Tensor(row[name], ms.float32))
        self._record.record(int(row["step"]))

    def on_train_end(self, run_context: Any) -> None:
        self._record.close()
