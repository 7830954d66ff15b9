"""TensorFlow Data Validation of a project's rows: `python -m accelerator.data_validation`.

docs/data-validation.md is its manual. What needs the library itself is in `data`, `statistics`, `schema` and
`validation`, imported by `run` alone; what came of it is plain data, so that the rest works without the library.
"""

from __future__ import annotations

from accelerator.data_validation.results import AnomalyError, Finding, Validated

__all__ = ["AnomalyError", "Finding", "Validated"]
