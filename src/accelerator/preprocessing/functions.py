"""A team's functions: what they are given, what they may return, and what becomes of what they refuse.

A function over rows takes a dict and returns one, or raises `Reject`. A function over batches takes a
pyarrow.RecordBatch and returns the rows that are kept, or `(kept, reasons)` with a text or null for every row given.
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from accelerator.contract import Reject, place_of
from accelerator.errors import AcceleratorError, CodeError, suggestion


@dataclass(frozen=True)
class Outcome:
    """What a function made of a batch.

    Args:
        kept: The rows that go on.
        rejected: Positions in the batch of those that do not.
        reasons: Why not, one for each of them.
    """

    kept: pa.Table
    rejected: Sequence[int]
    reasons: Sequence[str]


class Function:
    """A team's function over one table.

    Args:
        file: The team's file.
        name: The function's name in it.
        by_rows: Whether it takes single rows.
    """

    def __init__(self, file: Path, name: str, by_rows: bool) -> None:
        self._file = file
        self._name = name
        self._by_rows = by_rows
        module = _module(file)
        found = getattr(module, name, None)
        if not callable(found):
            raise CodeError(
                f"{file.name} defines no function {name}",
                place=str(file),
                next_step=suggestion(name, [key for key in vars(module) if not key.startswith("_")])
                or "correct preprocessing.tables in mlops.yaml",
            )
        self._call: Callable[[Any], Any] = found

    def apply(self, batch: pa.RecordBatch) -> Outcome:
        """The outcome for one batch.

        Raises:
            CodeError: The function raised something else than `Reject`, or returned what it may not.
        """
        try:
            return self._rows(batch) if self._by_rows else self._batch(batch)
        except AcceleratorError:
            raise
        except Exception as error:
            raise CodeError(
                f"{self._name} raised {type(error).__name__}: {error}",
                place=place_of(error, self._file.parent),
                next_step='to put a row aside, raise Reject("why"); anything else ends the run',
            ) from error

    def _rows(self, batch: pa.RecordBatch) -> Outcome:
        kept: list[dict[str, Any]] = []
        rejected: list[int] = []
        reasons: list[str] = []
        for position, row in enumerate(batch.to_pylist()):
            try:
                made = self._call(row)
            except Reject as refusal:
                rejected.append(position)
                reasons.append(str(refusal) or "rejected")
                continue
            if not isinstance(made, dict):
                raise self._wrong(f"{type(made).__name__}, not the row as a dict")
            kept.append(made)
        return Outcome(self._table(kept, batch.schema), rejected, reasons)

    def _table(self, rows: list[dict[str, Any]], given: pa.Schema) -> pa.Table:
        """Rows as a table: columns that were there keep their type, unless the values no longer fit it."""
        names = list(dict.fromkeys(name for row in rows for name in row)) or given.names
        columns = []
        for name in names:
            values = [row.get(name) for row in rows]
            kind = given.field(name).type if name in given.names else None
            try:
                columns.append(pa.array(values, kind))
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                columns.append(pa.array(values))
        return pa.table(columns, names)

    def _batch(self, batch: pa.RecordBatch) -> Outcome:
        made = self._call(batch)
        kept, reasons = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if isinstance(kept, pa.RecordBatch):
            kept = pa.Table.from_batches([kept])
        if not isinstance(kept, pa.Table):
            raise self._wrong(f"{type(kept).__name__}, not a pyarrow RecordBatch or Table")
        if reasons is None:
            return Outcome(kept, (), ())
        told = reasons.to_pylist() if hasattr(reasons, "to_pylist") else list(reasons)
        if len(told) != batch.num_rows:
            raise self._wrong(f"{len(told)} reasons for {batch.num_rows} rows: give each a text or null")
        rejected = [position for position, reason in enumerate(told) if reason is not None]
        return Outcome(kept, rejected, [str(told[position]) for position in rejected])

    def _wrong(self, what: str) -> CodeError:
        return CodeError(
            f"{self._name} returned {what}", place=str(self._file), next_step="docs/preprocessing.md has the forms"
        )


def as_json(row: Mapping[str, Any]) -> str:
    """A row as JSON; what JSON has no form for is text."""
    return json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, Iterable):
        return [_plain(inner) for inner in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _module(file: Path) -> ModuleType:
    """The team's file as a module; its folder is on the import path."""
    name = f"preprocessing_{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    if not file.is_file():
        raise CodeError(
            "The preprocessing code is not there", place=str(file), next_step="correct preprocessing.code in mlops.yaml"
        )
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise CodeError(
            f"{file.name} does not import: {type(error).__name__}: {error}",
            place=place_of(error, file.parent),
            next_step=f"run `python {file.name}` to see it",
        ) from error
    return module
