"""A declared grid of experiments, run in parallel, its results kept as they come."""
