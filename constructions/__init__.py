"""Transformers whose weights are written by hand from constructive proofs."""
