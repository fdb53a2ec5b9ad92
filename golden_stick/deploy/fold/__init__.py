"""Batch normalizations become part of the layers beside them."""
