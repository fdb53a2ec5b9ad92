"""Parts of the benchmarks over the networks of mindcv."""
