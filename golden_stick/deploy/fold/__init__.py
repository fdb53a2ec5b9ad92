"""Batch normalizations become part of the layers beside them."""
from golden_stick.deploy.fold.cells import restructured
from golden_stick.deploy.fold.network import fold, fold_report
from golden_stick.deploy.fold.plan import FoldedNormalization, Folding, KeptNormalization
from golden_stick.deploy.fold.undo import unfolded_network

__all__ = ["FoldedNormalization", "Folding", "KeptNormalization", "fold", "fold_report", "restructured",
           "unfolded_network"]
