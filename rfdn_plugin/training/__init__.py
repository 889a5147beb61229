"""A training from its option file to its last checkpoint: checks, BasicSR's pipeline with our hooks, resuming."""
