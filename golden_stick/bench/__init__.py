"""What networks cost on this machine: latency, throughput, memory, and the widths that it likes."""
