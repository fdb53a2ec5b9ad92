"""Parts of benchmarks/gpu_latency.py."""
