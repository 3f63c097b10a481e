"""TGMM: one transformer, trained on drawn tasks, that estimates Gaussian mixtures in context (sections 2.2 and 2.3)."""
