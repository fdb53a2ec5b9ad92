"""Parts of benchmarks/steps.py."""
