"""Parts of benchmarks/planted_redundancy.py."""
