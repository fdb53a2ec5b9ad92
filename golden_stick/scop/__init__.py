"""SCOP: Scientific Control for Reliable Neural Network Pruning (Tang et al., NeurIPS 2020)."""
from golden_stick.scop.cells import KnockoffInput, KnockoffLayer
from golden_stick.scop.pruner import SCOP
from golden_stick.scop.samplers import (
    FeatureSampler,
    GaussianSampler,
    GeneratorSampler,
    NoiseSampler,
    PermutationSampler,
    Sampler,
)

__all__ = ["FeatureSampler", "GaussianSampler", "GeneratorSampler", "KnockoffInput", "KnockoffLayer", "NoiseSampler",
           "PermutationSampler", "SCOP", "Sampler"]
