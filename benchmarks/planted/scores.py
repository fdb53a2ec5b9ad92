"""Scores of filters: by every criterion of golden_stick, by SCOP, and by hiding one filter at a time."""
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Tuple

import numpy as np
from mindspore import Tensor, nn

import golden_stick as gs
from benchmarks.planted.images import SIZE, Images, batches
from benchmarks.planted.network import BATCH, LAYERS, SmallNet, conv_of, read
from golden_stick.cells.slim import recipe_of
from golden_stick.certify.safe_filters import discoveries, equivalence_p_values
from golden_stick.criteria import CRITERIA, FilterStatistics
from golden_stick.criteria.statistics import collect
from golden_stick.scop.report import selected_filters

__all__ = ["INPUTS", "ScopRun", "by_criterion", "by_hiding", "by_scop"]

INPUTS = (1, 3, SIZE, SIZE)
LayerArrays = Tuple[np.ndarray, ...]


def _by_layer(found: Mapping[str, np.ndarray]) -> LayerArrays:
    return tuple(found[conv_of(layer)] for layer in range(LAYERS))


def by_criterion(name: str, network: SmallNet, images: Images, seed: int) -> LayerArrays:
    """The scores that `OneShot` with this criterion ranks a layer by, on whole batches of these images."""
    criterion, seen = CRITERIA[name], {}
    if criterion.needs != "nothing":
        graph = gs.trace(network, INPUTS)
        seen = collect(name, criterion.needs, network, graph, gs.find_groups(graph),
                       batches(images, min(BATCH, len(images))), nn.CrossEntropyLoss())
    values, generator = read(network), np.random.default_rng(seed)
    scores = []
    for layer in range(LAYERS):
        weight = values[conv_of(layer)]
        found = {criterion.needs: seen[conv_of(layer)]} if seen else {}
        if criterion.needs == "squared_gradients":
            found = {criterion.needs: seen[conv_of(layer)].reshape(len(weight), -1)}
        evidence = FilterStatistics(weight.reshape(len(weight), -1), values[f"features.{3 * layer + 1}.gamma"],
                                    generator, **found)
        scores.append(np.asarray(criterion.score(evidence), np.float64))
    return tuple(scores)


@dataclass(frozen=True, eq=False)
class ScopRun:
    """
    A knockoff phase.

    Args:
        scores (tuple[numpy.ndarray]): Of each layer.
        algorithm (golden_stick.SCOP): With its phase trained.
        phase (Cell): The trained network of the phase.
    """

    scores: LayerArrays
    algorithm: gs.SCOP
    phase: nn.Cell

    def not_selected(self, rate: float) -> LayerArrays:
        """Of each layer, the filters that knockoff+ at this rate does not select, of a phase of one draw: bool."""
        rows = {conv_of(layer): score[None] for layer, score in enumerate(self.scores)}
        return tuple(~kept for kept in _by_layer(selected_filters(rows, rate)))

    def removed(self) -> LayerArrays:
        """Of each layer, the filters that `convert` removes: bool. None where it selects none, which it refuses."""
        gone = {conv_of(layer): np.zeros(len(score), bool) for layer, score in enumerate(self.scores)}
        try:
            slim = self.algorithm.convert(self.phase)
        except gs.errors.StateError:
            return _by_layer(gone)
        for axis in recipe_of(slim).steps[-1].axes:
            if axis.axis == 0 and axis.parameter in gone:
                gone[axis.parameter][np.setdiff1d(np.arange(axis.size), axis.kept)] = True
        return _by_layer(gone)


def by_scop(config: Mapping[str, Any], network: SmallNet, images: Images, steps: int, seed: int,
            learning_rate: float) -> ScopRun:
    """Train the scales by Adam on shuffled images, and read the scores."""
    algorithm = gs.SCOP({**config})
    phase = algorithm.apply(network, INPUTS)
    loss = algorithm.loss(nn.CrossEntropyLoss())
    step = nn.TrainOneStepCell(nn.WithLossCell(phase, loss), nn.Adam(phase.trainable_params(), learning_rate))
    step.set_train()
    algorithm.before_training(steps)
    generator, done = np.random.default_rng(seed), 0
    while done < steps:
        for pixels, labels in batches(images, min(BATCH, len(images)), generator):
            step(Tensor(pixels), Tensor(labels))
            algorithm.after_step()
            done += 1
            if done == steps:
                break
    phase.set_train(False)
    return ScopRun(_by_layer(algorithm.filter_scores()), algorithm, phase)


def by_hiding(network: SmallNet, images: Images, others: Images, bounds: Tuple[float, ...]
              ) -> Tuple[LayerArrays, Dict, LayerArrays]:
    """
    What hiding each filter alone costs, and which filters golden_stick finds safe.

    Returns:
        tuple: mean rise of the loss, of each layer; bound -> which `safe_filters` finds safe, of each layer, bool; and
        which of those of the first bound go by `safe_together` on the other images, of each layer, bool.
    """
    loss = nn.CrossEntropyLoss(reduction="none")
    # Seeds share images, but each has a network of its own, which was planted without a look at them.
    found = gs.safe_filters(network, INPUTS, batches(images, min(500, len(images))), loss, eps=bounds[0],
                            reuse="declare")
    together = gs.safe_together(network, found, batches(others, min(500, len(others))), loss, eps=bounds[0],
                                reuse="declare")

    def by_layer(values: np.ndarray) -> LayerArrays:
        slices = {item.parameter: item for group in found.grouping for item in group.filters}
        return tuple(values[np.searchsorted(found.channels, slices[conv_of(layer)].channels)]
                     for layer in range(LAYERS))

    deviation = found.error * np.sqrt(found.data.images)
    safe = {bounds[0]: by_layer(found.safe)}
    for bound in bounds[1:]:
        p_values = equivalence_p_values(found.cost, deviation, found.data.images, bound)
        safe[bound] = by_layer(discoveries(p_values, found.q, found.correction))
    return by_layer(found.cost), safe, by_layer(np.isin(found.channels, together.removed))
