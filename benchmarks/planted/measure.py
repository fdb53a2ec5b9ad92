"""One seed: train, plant, score by every criterion, prune."""
import itertools
from typing import Any, Callable, Dict, Mapping

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from tqdm import tqdm

import golden_stick as gs
from golden_stick.criteria import CRITERIA
from planted.data import batches
from planted.network import KINDS, PlantedNet, plant

__all__ = ["RATES", "auroc", "measure"]

RATES = (0.2, 0.35, 0.45, 0.6)
SAMPLERS = ("permutation", "noise")
SHAPE, BATCH, TURN_STEPS = (1, 3, 16, 16), 128, 10
# What criteria look at, and the images that statistics are re-estimated on, in batches of the training images.
LOOK, CALIBRATION = 32, 20
EPS, FDR, CERTIFIED_IMAGES = 0.005, 0.1, 2500


def measure(sets: Mapping[str, Any], seed: int, epochs: int, steps: int, criteria) -> Dict[str, Any]:
    """
    Everything that the page shows of one seed.

    Args:
        sets (Mapping): Of `load_sets`.
        seed (int): Of weights, order, planting and draws.
        epochs (int): Of training the network.
        steps (int): Of each knockoff phase, a multiple of what one turn of all blocks takes.
        criteria (Sequence[str]): Of golden_stick's table, and ``'scop, <sampler>'``.
    """
    ms.set_seed(seed)
    network = PlantedNet()
    _train(network, nn.Momentum(network.trainable_params(), _cosine(0.1, epochs * (len(sets["train"][1]) // BATCH)),
                                0.9, weight_decay=5e-4),
           (batch for epoch in range(epochs) for batch in batches(sets["train"], BATCH, seed * 1000 + epoch)))
    wide, kinds = plant(network, Tensor(sets["train"][0][:1024]), seed)
    found: Dict[str, Any] = {"seed": seed, "accuracy": _accuracy(network, sets["test"]),
                             "accuracy_planted": _accuracy(wide, sets["test"]), "criteria": {},
                             "kinds": {path: list(map(str, kind)) for path, kind in kinds.items()}}
    for name in tqdm(criteria, f"seed {seed}", disable=None):
        made = _scop(wide, sets, name.partition(", ")[2], steps) if name.startswith("scop") else _one_shot(wide, sets,
                                                                                                       name, seed)
        scores = made(0.4)[1].filter_scores()
        row: Dict[str, Any] = {kind: auroc(scores, kinds, kind) for kind in KINDS}
        row["one_shot"], row["calibrated"] = _curve(made, sets)
        if name == "scop, permutation":
            found["knockoff+"] = _selected(made("auto")[0], kinds)
            found["knockoff+"]["accuracy"] = _accuracy(made("auto")[0], sets["test"])
        found["criteria"][name] = row
    found["certified"] = _certified(wide, sets, kinds)
    return found


def auroc(scores: Mapping[str, np.ndarray], kinds: Mapping[str, np.ndarray], kind: str) -> float:
    """
    How often a planted filter of a kind scores below an original one of its layer, equal scores counting half: mean
    over the layers. Originals that have a duplicate are left out where duplicates are looked for.
    """
    found = []
    for path, of_layer in kinds.items():
        score = scores[f"{path}.weight"]
        planted = score[np.char.startswith(of_layer, kind)]
        original = score[of_layer == ""] if kind == "duplicate" else score[np.isin(of_layer, ("", "copied"))]
        below = planted[:, None] < original[None, :]
        equal = planted[:, None] == original[None, :]
        found.append(float((below + 0.5 * equal).mean()))
    return float(np.mean(found))


def _one_shot(network: nn.Cell, sets: Mapping[str, Any], criterion: str, seed: int) -> Callable:
    # Sample by sample, so on fewer.
    count, size = (4, 64) if CRITERIA[criterion].needs == "squared_gradients" else (LOOK, BATCH)

    def made(rate: Any):
        algorithm = gs.OneShot({"criterion": criterion, "prune_rate": rate, "seed": seed})
        data = itertools.islice(batches(sets["train"], size), count)
        masked = algorithm.apply(network, SHAPE, data=data, loss=nn.CrossEntropyLoss())
        return algorithm.convert(masked), algorithm
    return made


def _scop(network: nn.Cell, sets: Mapping[str, Any], sampler: str, steps: int) -> Callable:
    """One knockoff phase, on images that the weights have not seen, and as many rates as are asked for."""
    config = {"sampler": sampler, "held_out": True, "turn_steps": TURN_STEPS}
    algorithm = gs.SCOP(config)
    phase = algorithm.apply(network, SHAPE)
    endless = (batch for epoch in itertools.count() for batch in batches(sets["control"], BATCH, epoch))
    _train(phase, nn.Adam(phase.trainable_params(), 0.01), itertools.islice(endless, steps), algorithm.after_step)
    values = [parameter.asnumpy().copy() for parameter in phase.get_parameters()]

    def made(rate: Any):
        again = gs.SCOP({**config, "prune_rate": rate})
        other = again.apply(network, SHAPE)
        for parameter, value in zip(other.get_parameters(), values):
            parameter.set_data(Tensor(value))
        return again.convert(other), again
    return made


def _curve(made: Callable, sets: Mapping[str, Any]):
    before, after = [], []
    for rate in RATES:
        slim, _ = made(rate)
        before.append(_accuracy(slim, sets["test"]))
        gs.prune.calibrate(slim, (images for images, _ in itertools.islice(batches(sets["train"], BATCH), CALIBRATION)))
        after.append(_accuracy(slim, sets["test"]))
    return before, after


def _selected(slim: nn.Cell, kinds: Mapping[str, np.ndarray]) -> Dict[str, int]:
    """What is gone from a slim network: planted filters, originals, and originals that have a duplicate."""
    recipe = gs.prune.slimmer.recipe_of(slim)
    kept = {axis.parameter: set(axis.kept) for plan in recipe for axis in plan.axes if axis.axis == 0}
    gone = {path: [index for index in range(len(kind)) if index not in kept.get(f"{path}.weight", range(len(kind)))]
            for path, kind in kinds.items()}
    return _count(gone, kinds)


def _count(gone: Mapping[str, Any], kinds: Mapping[str, np.ndarray]) -> Dict[str, int]:
    of = [str(kinds[path][index]) for path, places in gone.items() for index in places]
    planted = [str(kind) for kinds_of_layer in kinds.values() for kind in kinds_of_layer if kind not in ("", "copied")]
    return {"removed": len(of), "originals": of.count(""), "copied": of.count("copied"),
            "planted": len(of) - of.count("") - of.count("copied"), "of": len(planted)}


def _certified(wide: nn.Cell, sets: Mapping[str, Any], kinds: Mapping[str, np.ndarray]) -> Dict[str, Any]:
    """What equivalence tests find safe, on images of the validation set, and what removing it all costs."""
    images = tuple(array[:CERTIFIED_IMAGES] for array in sets["validation"])
    found = gs.safe_filters(wide, SHAPE, batches(images, 250), nn.CrossEntropyLoss(reduction="none"), EPS, FDR)
    slim = gs.slim(wide, found.plan())
    counted = _selected(slim, kinds)
    # An original filter whose loss costs nothing is rightly found: what counts is what it costs on other images.
    elsewhere = gs.safe_filters(wide, SHAPE, batches(sets["test"], 250), nn.CrossEntropyLoss(reduction="none"), EPS)
    counted["harmful"] = int((elsewhere.cost[found.safe] >= EPS).sum())
    counted["accuracy"] = _accuracy(slim, sets["test"])
    return counted


def _train(network: nn.Cell, optimizer: nn.Optimizer, data, after_step: Callable[[], None] = lambda: None) -> None:
    step = nn.TrainOneStepCell(nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer).set_train()
    for images, labels in data:
        step(Tensor(images), Tensor(labels))
        after_step()
    network.set_train(False)


def _accuracy(network: nn.Cell, images: Any) -> float:
    network.set_train(False)
    right = [network(Tensor(inputs)).asnumpy().argmax(1) == labels for inputs, labels in batches(images, 500)]
    return float(np.concatenate(right).mean())


def _cosine(first: float, steps: int):
    return [float(first * (1 + np.cos(np.pi * step / steps)) / 2) for step in range(steps)]
