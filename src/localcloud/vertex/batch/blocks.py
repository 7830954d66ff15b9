"""A block: some thousand rows of a source as they are sent and as they are written out.

Reading them is localcloud.vertex.batch.tables' and .files' work, writing that of the sinks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import orjson
import pyarrow as pa

LEAST_ROWS = 8192
"""Rows of a block: enough that the work a block costs is small beside that of its rows."""
MOST_BYTES = 16 * 2**20
"""After which a block ends however few its rows are."""


UNASKED = object()
"""In place of a prediction: the row was not sent, since the job ended before."""


class Failure(NamedTuple):
    """Why a row has no prediction: what stands beside it in the errors."""

    code: int
    """google.rpc.Code."""
    message: str


class SourceProblem(Exception):
    """The source cannot be read at all, or the destination not written: the job fails.

    Args:
        code: google.rpc.Code.
        message: For the user.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Block:
    """Rows that travel together.

    Args:
        instances: What is sent for each row.
        names: The fields of an instance that is an array, where they are known.
        keys: The value of the key field for each row, where there is one.
        attached: The excluded fields of each row, which come out beside its prediction; None for none.
        columns: The rows as BigQuery gave them; None for those of files.
        unread: Rows that are no instance: the row as far as it can be told, and what is wrong.
    """

    instances: list[Any]
    names: tuple[str, ...] = ()
    keys: list[Any] | None = None
    attached: list[dict[str, Any]] | None = None
    columns: pa.RecordBatch | None = None
    unread: list[tuple[Any, Failure]] = field(default_factory=list)

    def head(self, index: int) -> dict[str, Any]:
        """What comes before a row's prediction in a file: its key, or the instance and what was excluded from it."""
        if self.keys is not None:
            return {"key": self.keys[index]}
        if self.attached is None:
            return {"instance": self.instances[index]}
        return {"instance": self.instances[index], **self.attached[index]}

    def table(self) -> pa.RecordBatch:
        """What comes before a row's prediction in a table."""
        if self.columns is not None:
            return self.columns
        if self.keys is not None:
            return pa.record_batch({"key": pa.array([text(key) for key in self.keys], pa.string())})
        return pa.record_batch({"instance": pa.array([orjson.dumps(one) for one in self.instances], pa.string())})


class Source(Protocol):
    """Where rows come from."""

    total: int | None
    """How many rows there are, where that is known before they are read."""

    def blocks(self) -> Iterator[Block]:
        """The rows, in their order.

        Raises:
            SourceProblem: They cannot be read.
        """
        ...


class Sink(Protocol):
    """Where predictions go. Called from one thread."""

    def write(self, block: Block, results: list[Any]) -> None:
        """Write a block: for each row a prediction, a Failure or UNASKED."""
        ...

    def close(self) -> None:
        """Bring everything to where it stays."""
        ...


def text(value: Any) -> str | None:
    """A value as a cell of text: strings as they are, all else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()
