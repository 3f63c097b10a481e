"""Transformers whose weights are written by hand from constructive proofs."""

import os

if os.environ.get("REORDERED_SUMS", "") not in ("", "0"):  # for the tests: see reordered_sums
    from constructions import reordered_sums

    reordered_sums.install()
