"""What commands and files are told by: methods, arms, the files of a run, where the shipped models are."""

from pathlib import Path

SHIPPED = Path(__file__).parent / "shipped"
"""The directory of the shipped models."""
TRAINING, MODEL, METRICS, CONFIG = "training.safetensors", "model.safetensors", "metrics.jsonl", "config.toml"
"""The files of a training run."""
ARMS = ("warm", "warm, balanced", "warm, balanced, tied", "scratch", "scratch, small", "scratch, tied")
"""Of the warm start."""
SUBSET = 128
"""Samples of a subset of real data."""
RESTARTS = (3, 10, 30)
"""Of EM from k-means++ means: what is paid for a better optimum."""
EM_STEPS = (10, 50)
"""Of the hand-built transformers that are compared."""
ADAM_STEPS = 400
DESCRIPTIONS = {
    "em-normal": "EM to convergence from N(0, I) means",
    "em-samples": "EM to convergence from K distinct samples",
    "em-kmeans++": "EM to convergence from k-means++ means",
    **{f"em-best-of-{restarts}": f"the most likely of {restarts} such runs" for restarts in RESTARTS},
    "em-pruning": "two EM steps, from too many centres and from K of them",
    "adam": f"{ADAM_STEPS} steps of Adam on the log-likelihood from k-means++ means",
    "spectral": "moments, whitening and tensor power iterations; K <= d",
    **{
        f"em-transformer-{steps}": f"the hand-built transformer of {2 * steps} layers, {steps} EM steps from k-means++ "
        "means"
        for steps in EM_STEPS
    },
}
"""The classical methods, each in one line."""
