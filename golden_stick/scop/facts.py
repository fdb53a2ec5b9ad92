"""What a knockoff phase was and found, as plain data for reports and cards."""
from dataclasses import asdict
from typing import Any, Dict, Mapping, Sequence

import numpy as np

from golden_stick.scop.conditions import Condition
from golden_stick.scop.mixing import Schedule

__all__ = ["control_facts"]

_BINS = 10


def control_facts(config: Mapping[str, Any], schedule: Schedule, scales: Mapping[str, np.ndarray], correlation: float,
                  conditions: Sequence[Condition]) -> Dict[str, Any]:
    """
    What stood in for samples, how it was mixed in, and what became of the scales.

    Args:
        config (Mapping): Of `SCOP`.
        schedule (Schedule): Of the knockoff phase.
        scales (Mapping): Weight name -> trained scales, shape (draws, filters).
        correlation (float): Rank correlation of the scores with ``|gamma|``; NaN if it is not defined.
        conditions (Sequence[Condition]): Of a selection by knockoff+; none where a rate decides.

    Returns:
        dict, fit for JSON.
    """
    sampler = config["sampler"]
    pooled = np.concatenate([values.ravel() for values in scales.values()])
    return {
        "sampler": sampler if isinstance(sampler, str) else sampler.name,
        # White noise by its name has the seed 0; a permutation draws nothing.
        "seed": {"noise": 0}.get(sampler) if isinstance(sampler, str) else getattr(sampler, "seed", None),
        "draws": schedule.draws, "mixing": schedule.mixing, "blocks": schedule.blocks,
        "turn_steps": schedule.turn_steps, "held_out": config["held_out"],
        "scales": len(pooled), "histogram": np.histogram(pooled, _BINS, (0.0, 1.0))[0].tolist(),
        "below_half": float((pooled < 0.5).mean()), "above_0.99": float((pooled > 0.99).mean()),
        "rank_correlation": None if np.isnan(correlation) else correlation,
        "conditions": [asdict(condition) for condition in conditions],
    }
