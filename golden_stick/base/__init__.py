"""What knows nothing of pruning: errors, configurations, inputs, files, digests, progress."""
