"""One seed of the experiment, from training to a row of results as plain data."""
import time
from dataclasses import asdict, dataclass
from typing import Any, Dict, Sequence, Tuple

import mindspore as ms
import numpy as np

from benchmarks.planted.images import Images, split
from benchmarks.planted.measures import Without, auroc_of_kinds, lowest, spearman
from benchmarks.planted.network import SmallNet, train
from benchmarks.planted.planting import KINDS, SAFE, Planted, plant
from benchmarks.planted.scores import ScopRun, by_criterion, by_hiding, by_scop
from golden_stick.criteria import CRITERIA

__all__ = ["BOUNDS", "SCOP_RUNS", "Settings", "run"]

BOUNDS = (0.005, 0.002, 0.001)  # of safe_filters: safe_together begins with the first, the last is the default
_AUTO = {"prune_rate": "auto", "fdr": 0.1}
# Row -> configuration, and the images on which scales are trained.
SCOP_RUNS: Dict[str, Tuple[Dict[str, Any], str]] = {
    "scop": ({**_AUTO, "held_out": True}, "control"),
    "scop, 5 draws": ({**_AUTO, "held_out": True, "draws": 5}, "control"),
    "scop, training images": (_AUTO, "weights"),
    "scop, joint": ({**_AUTO, "held_out": True, "mixing": "joint"}, "control"),
    "scop, noise": ({**_AUTO, "held_out": True, "sampler": "noise"}, "control"),
    "scop, squared gradients": ({"held_out": True}, "control"),
}


@dataclass(frozen=True)
class Settings:
    """
    How large the experiment is.

    Args:
        epochs (int): Of training the base network.
        steps (int): Of training SCOP's scales, all blocks together.
        learning_rate (float): Of their Adam.
        turn_steps (int): As of SCOP, where there are 5 draws, which take `steps` each block and draw together.
        looked_at (int): Images that criteria look at.
        one_by_one (int): Images for the criterion that looks at them one by one.
        criteria (tuple[str]): Which.
        scop (tuple[str]): Which of `SCOP_RUNS`.
        rates (tuple[float]): Shares of every layer's filters that are removed.
        weak (str): Form of the weak filters.
    """

    epochs: int = 10
    steps: int = 400
    learning_rate: float = 0.02
    turn_steps: int = 25
    looked_at: int = 4096
    one_by_one: int = 1024
    criteria: Tuple[str, ...] = tuple(CRITERIA)
    scop: Tuple[str, ...] = ("scop", "scop, 5 draws", "scop, joint", "scop, noise")
    rates: Tuple[float, ...] = (0.2, 0.35, 0.45, 0.6)
    weak: str = "random"


def run(known: Images, test: Images, seed: int, settings: Settings) -> Dict[str, Any]:
    """Train, plant, score by everything, measure."""
    begin = time.perf_counter(), time.process_time()
    parts = split(known, seed)
    ms.set_seed(seed)
    base = SmallNet()
    train(base, parts["weights"], settings.epochs, seed)
    planted = plant(base, parts["weights"], seed, settings.weak)
    without = Without(planted.network, parts["weights"].take(slice(2048)), test)
    nothing = tuple(np.zeros(len(kinds), bool) for kinds in planted.kinds)
    none, recalibrated = without.accuracies(nothing)
    cost, safe, together = by_hiding(planted.network, parts["validation"], parts["together"], BOUNDS)
    phases = {name: _phase(name, planted, parts, seed, settings) for name in settings.scop}
    scores = {name: by_criterion(name, planted.network, parts["control"].take(slice(
        settings.one_by_one if CRITERIA[name].needs == "squared_gradients" else settings.looked_at)), seed)
        for name in settings.criteria}
    scores.update({name: phase.scores for name, phase in phases.items()})
    scores["hiding one at a time"] = cost
    criteria = {name: {"auroc": auroc_of_kinds(found, planted.kinds), "rank correlation": spearman(found, cost),
                       "accuracy": [without.accuracies(lowest(found, rate)) for rate in settings.rates]}
                for name, found in scores.items()}
    sets = {f"safe_together, eps = {BOUNDS[0]}": together,
            **{f"safe_filters, eps = {bound}": found for bound, found in safe.items()}}
    for name, phase in phases.items():
        if "fdr" not in SCOP_RUNS[name][0]:
            continue
        sets[f"knockoff+, q = 0.1: {name}"] = phase.removed()
        if name == "scop":
            sets[f"knockoff+, q = 0.2: {name}"] = phase.not_selected(0.2)
    chosen = {name: {**_count(found, planted), "accuracy": without.accuracies(found),
                     "costly": _costly(found, planted, without, BOUNDS[0])} for name, found in sets.items()}
    return {"seed": seed, "settings": asdict(settings), "accuracy": none,
            "accuracy, statistics re-estimated": recalibrated,
            "difference": planted.difference, "weak_difference": planted.weak_difference,
            "images": {**{name: len(part) for name, part in parts.items()}, "test": len(test)},
            "criteria": criteria, "sets": chosen, "seconds": time.perf_counter() - begin[0],
            "cpu_seconds": time.process_time() - begin[1]}


def _phase(name: str, planted: Planted, parts: Dict[str, Images], seed: int, settings: Settings) -> ScopRun:
    config, source = SCOP_RUNS[name]
    steps = settings.steps
    if config.get("draws", 1) > 1:
        config = {**config, "turn_steps": settings.turn_steps}
        steps = settings.turn_steps * config["draws"] * len(planted.kinds)
    return by_scop(config, planted.network, parts[source], steps, seed, settings.learning_rate)


def _count(gone: Sequence[np.ndarray], planted: Planted) -> Dict[str, float]:
    """How many of each kind a set has, and its errors."""
    kinds, flags = np.concatenate(planted.kinds), np.concatenate(gone)
    found = {kind: int(flags[kinds == kind].sum()) for kind in (*KINDS, "original", "duplicated")}
    members = sum(int(of_layer[pair].any(axis=1).sum()) for of_layer, pair in zip(gone, planted.pairs))
    whole = sum(int(of_layer[pair].all(axis=1).sum()) for of_layer, pair in zip(gone, planted.pairs))
    return {**found, "removed": int(flags.sum()), "filters": len(flags), "safe": float(np.isin(kinds, SAFE).sum()),
            "power": float(flags[np.isin(kinds, SAFE)].mean()), "pairs touched": members, "pairs lost": whole,
            "null among kept": float(np.isin(kinds[~flags], SAFE).mean()) if (~flags).any() else 0.0}


def _costly(gone: Sequence[np.ndarray], planted: Planted, without: Without, bound: float) -> int:
    """How many of a set's originals and members of pairs raise the loss by the bound or more when hidden alone."""
    return sum(without.cost(layer, int(index)) >= bound
               for layer, (flags, kinds) in enumerate(zip(gone, planted.kinds))
               for index in np.flatnonzero(flags & ~np.isin(kinds, SAFE)))
