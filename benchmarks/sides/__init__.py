"""What runs in the Python of another environment, and how benchmarks talk to it."""
