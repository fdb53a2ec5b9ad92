"""Batch normalizations become part of the layers beside them."""
from golden_stick.deploy.fold.cells import restructured
from golden_stick.deploy.fold.network import fold, fold_report
from golden_stick.deploy.fold.plan import FoldedNormalization, Folding, KeptNormalization

__all__ = ["FoldedNormalization", "Folding", "KeptNormalization", "fold", "fold_report", "restructured"]
