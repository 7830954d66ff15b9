"""The generic training container: `python -m accelerator.training` trains a team's plugged-in code.

docs/training-container.md is its manual; submitting jobs that run it is left to the command line and pipelines.
"""

from __future__ import annotations

from accelerator.training.checkpoint import Checkpoint
from accelerator.training.metrics import report

__all__ = ["Checkpoint", "report"]
