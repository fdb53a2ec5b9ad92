"""Planted redundancy: networks with filters whose truth is known. `benchmarks/planted_redundancy.py` runs it."""
