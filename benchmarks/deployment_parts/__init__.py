"""Parts of benchmarks/deployment.py and benchmarks/trace_plan_slim.py."""
