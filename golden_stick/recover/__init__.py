"""What follows slimming: statistics that are estimated anew."""
