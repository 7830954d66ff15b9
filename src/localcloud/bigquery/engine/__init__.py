"""GoogleSQL on DuckDB: `engine.Engine.execute` runs one statement or script and gives a `Result`.

The REST layer owns jobs, pages and bodies; `tables.py` owns what is stored. `Engine` is not named here: with it comes
the parser, half a second of imports that the first query pays and not the start of the server.
"""

from __future__ import annotations

from .result import Cancellation, Result

__all__ = ["Cancellation", "Result"]
