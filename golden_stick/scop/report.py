"""What a knockoff phase was and found, as plain data for reports and cards."""
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Dict, Iterable, Mapping, Optional, Sequence, Tuple

import numpy as np
from mindspore import Parameter, Tensor

from golden_stick.knockoffs.selection import least_passing
from golden_stick.scop.scales import Schedule
from golden_stick.scop.selection import describe_scales, selected_filters

__all__ = ["DESCRIPTION", "NOT_KNOWN", "described", "description_in", "encoded", "in_words", "stored", "Condition",
           "conditions_of", "control_facts", "control_notes"]


DESCRIPTION = "mixing.sampler"
NOT_KNOWN = "not known: the checkpoint does not say"

# A checkpoint that is read must have the shapes of the phase, whatever sampler either has: all texts are of one length.
_SIZE = 512
_SETTINGS = ("method", "grid", "positions", "seed")
_FITTED = {"sampler.mean", "sampler.deviation", "sampler.shift", "sampler.root"}


def described(sampler: Any, fit: Iterable[Parameter] = ()) -> Dict[str, Any]:
    """
    What is to be said of a sampler.

    Args:
        sampler (Union[Sampler, FeatureSampler]): The sampler.
        fit (Iterable[Parameter]): What it has fitted, or the weights of its generator.

    Returns:
        dict, fit for JSON: `name`; `method`, `grid`, `positions` and `seed` where it has them; `fit`, a digest.
    """
    settings = {key: getattr(sampler, key, None) for key in _SETTINGS}
    found = {"name": str(sampler.name), **{key: value for key, value in settings.items()
                                           if isinstance(value, (str, int))}}
    digest, empty = hashlib.sha256(), True
    for parameter in fit:
        digest.update(f"{parameter.name} {parameter.shape}".encode())
        digest.update(np.ascontiguousarray(parameter.asnumpy()).tobytes())
        empty = False
    return found if empty else {**found, "fit": digest.hexdigest()[:16]}


def stored(description: Mapping[str, Any]) -> Parameter:
    """A description as a parameter, so that a checkpoint of the phase tells what its scales were trained with."""
    return Parameter(Tensor(encoded(description)), name=DESCRIPTION, requires_grad=False)


def encoded(description: Mapping[str, Any]) -> np.ndarray:
    """A description as bytes of JSON, uint8. Of one that is too long, the beginning of its name."""
    text = json.dumps(dict(description), ensure_ascii=False).encode()
    if len(text) > _SIZE:
        text = json.dumps({"name": description["name"][:_SIZE // 8]}, ensure_ascii=False).encode()
    return np.frombuffer(text.ljust(_SIZE), np.uint8).copy()


def in_words(description: Mapping[str, Any]) -> str:
    """A description as a line of a report."""
    return ", ".join([f"sampler: {description['name']}",
                      *(f"{key} {value}" for key, value in description.items() if key != "name")])


def description_in(values: Mapping[str, np.ndarray]) -> Dict[str, Any]:
    """What a checkpoint tells of the sampler. Those of older versions have no description, but what was fitted."""
    if DESCRIPTION in values:
        return json.loads(values[DESCRIPTION].astype(np.uint8).tobytes().decode())
    if any(name.endswith(".knockoff_mean") for name in values):
        return {"name": "feature"}
    # The generator and samplers of a user's own may have parameters under this prefix as well, but not these alone.
    if {name for name in values if name.startswith("sampler.")} == _FITTED:
        return {"name": "gaussian"}
    return {"name": NOT_KNOWN}


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


_BINS = 10


def control_facts(config: Mapping[str, Any], sampler: Mapping[str, Any], schedule: Schedule,
                  scales: Mapping[str, np.ndarray], correlation: float, conditions: Sequence[Condition]
                  ) -> Dict[str, Any]:
    """
    What stood in for samples, how it was mixed in, and what became of the scales.

    Args:
        config (Mapping): Of `SCOP`.
        sampler (Mapping): Its description: `name`, and what else is known of it.
        schedule (Schedule): Of the knockoff phase.
        scales (Mapping): Weight name -> trained scales, shape (draws, filters).
        correlation (float): Rank correlation of the scores with ``|gamma|``; NaN if it is not defined.
        conditions (Sequence[Condition]): Of a selection by knockoff+; none where a rate decides.

    Returns:
        dict, fit for JSON.
    """
    pooled = np.concatenate([values.ravel() for values in scales.values()])
    return {
        "sampler": sampler["name"], "seed": sampler.get("seed"),
        **{key: sampler[key] for key in ("method", "grid", "positions", "fit") if key in sampler},
        "draws": schedule.draws, "mixing": schedule.mixing, "blocks": schedule.blocks,
        "turn_steps": schedule.turn_steps, "held_out": config["held_out"],
        "scales": len(pooled), "histogram": np.histogram(pooled, _BINS, (0.0, 1.0))[0].tolist(),
        "below_half": float((pooled < 0.5).mean()), "above_0.99": float((pooled > 0.99).mean()),
        "rank_correlation": None if np.isnan(correlation) else correlation,
        "conditions": [asdict(condition) for condition in conditions],
    }


def control_notes(config: Mapping[str, Any], sampler: Mapping[str, Any], schedule: Schedule,
                  scales: Mapping[str, np.ndarray], correlation: float, conditions: Sequence[Condition]
                  ) -> Tuple[str, ...]:
    """The same in words, for a report."""
    return (
        in_words(sampler),
        str(schedule),
        "rank correlation of the scores with |gamma|: not defined, no layer has differing |gamma|"
        if np.isnan(correlation) else
        f"rank correlation of the scores with |gamma|, median over layers: {correlation:.2f}",
        describe_scales(scales),
        "scales trained on data that the weights have not seen, as the configuration states"
        if config["held_out"] else
        "scales trained on data that may have trained the weights: 'held_out' is not set",
        *map(str, conditions),
    )
