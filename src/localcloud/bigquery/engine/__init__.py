"""GoogleSQL on DuckDB: `Engine.execute` runs one statement or script and gives a `Result`.

The REST layer owns jobs, pages and bodies; `tables.py` owns what is stored.
"""

from __future__ import annotations

from .engine import Engine
from .result import Cancellation, Result
from .session import Session

__all__ = ["Cancellation", "Engine", "Result", "Session"]
