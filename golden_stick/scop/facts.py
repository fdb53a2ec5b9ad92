"""What a knockoff phase was and found, as plain data for reports and cards."""
from dataclasses import asdict
from typing import Any, Dict, Mapping, Sequence, Tuple

import numpy as np

from golden_stick.scop.conditions import Condition
from golden_stick.scop.described import in_words
from golden_stick.scop.mixing import Schedule
from golden_stick.scop.selection import describe_scales

__all__ = ["control_facts", "control_notes"]

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
