"""The knockoff phase as the paper has it: knockoffs of the inputs run along, and convolutions mix them in."""
from typing import Any, Dict, Mapping

import numpy as np
from mindspore import nn

from golden_stick.deploy.fold.sites import find_sites
from golden_stick.graph.groups import ChannelGroup, Grouping
from golden_stick.graph.ir import Graph
from golden_stick.prune.cells import find_cell, replace_cells
from golden_stick.scop.cells import AbsorbedNormalization, KnockoffConv, KnockoffConvNormalized, KnockoffInput
from golden_stick.scop.mixing import Schedule, make_schedule
from golden_stick.scop.samplers import as_sampler

__all__ = ["InputPhase"]


class InputPhase:
    """
    Puts knockoffs of the inputs into a network, and reads the scales of its convolutions.

    Args:
        graph (Graph): The traced network.
        grouping (Grouping): What can be removed.
        config (Mapping): Of `SCOP`.
    """

    def __init__(self, graph: Graph, grouping: Grouping, config: Mapping[str, Any]):
        self._graph = graph
        self.layers = _controlled(graph, grouping)
        self.schedule: Schedule = make_schedule(graph, self.layers, config)
        self.sampler = config["sampler"]

    def build(self, inner: nn.Cell) -> nn.Cell:
        """The network of the phase, around `inner`, which is changed."""
        self.sampler, clock = as_sampler(self.sampler, self._graph.inputs), self.schedule.clock()
        behind = _absorbable(self._graph, inner, set(self.layers.values()))

        def wrapper(path: str):
            def wrap(conv: nn.Cell) -> nn.Cell:
                scale = self.schedule.scale(path, conv.out_channels, clock)
                if path in behind:
                    return KnockoffConvNormalized(conv, scale, find_cell(inner, behind[path]))
                return KnockoffConv(conv, scale)
            return wrap

        replace_cells(inner, {path: wrapper(path) for path in self.layers.values()})
        replace_cells(inner, {path: AbsorbedNormalization for path in behind.values()})
        return KnockoffInput(inner, self.sampler, clock)

    def why_unscored(self, group: ChannelGroup) -> str:
        """Why a group that can lose channels has no scales."""
        return "stays: SCOP scores filters of nn.Conv2d only, but for a FeatureSampler"

    def scales(self, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Weight name -> trained scales, shape (draws, filters), from the phase's parameters by name."""
        return {weight: self.schedule.final(path, values) for weight, path in self.layers.items()}


def _controlled(graph: Graph, grouping: Grouping) -> Dict[str, str]:
    """Weight name -> path of its convolution, for every nn.Conv2d with filters that can be removed."""
    found = {}
    for group in grouping:
        for item in group.filters:
            owners = graph.parameter(item.parameter).owners
            if owners and owners[0].kind == "Conv2d" and owners[0].attribute == "weight":
                found[item.parameter] = owners[0].path
    return found


def _absorbable(graph: Graph, network: nn.Cell, paths) -> Dict[str, str]:
    """Path of a convolution -> path of the normalization behind it, where the first can do the work of both."""
    sites, _ = find_sites(graph, lambda site: "" if _fits(site, network, paths) else "it stays")
    return {site.layers[0][0].path: site.normalization.path for site in sites}


def _fits(site, network: nn.Cell, paths) -> bool:
    (layer, channels), *others = site.layers
    if not site.before or others or layer.path not in paths:
        return False
    conv, norm = find_cell(network, layer.path), find_cell(network, site.normalization.path)
    # Subclasses may compute something else.
    return (type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d
            and np.array_equal(channels, np.arange(conv.out_channels)))
