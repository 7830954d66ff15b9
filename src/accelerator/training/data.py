"""What `train` is given: a split of the data, read when asked, as a whole or in batches of bounded memory.

Reading the rows themselves is left to accelerator.training.sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from accelerator.training import columns as as_column
from accelerator.training.columns import Columns, Profile

if TYPE_CHECKING:
    import pandas as pd

    from accelerator.training.sources import Source

CACHE_BYTES = 256 << 20
"""A split of at most this size is kept in memory after the first pass; a larger one is read again."""
BATCH_ROWS = 65_536


class Rows:
    """Some rows in memory: a whole split, or one of its batches."""

    def __init__(self, table: pa.Table, data: Data) -> None:
        self.arrow = table
        """The feature columns and the label, as they were read."""
        self._data = data

    @cached_property
    def features(self) -> pd.DataFrame:
        """The feature columns; text with few values as categories, the same in every split and batch."""
        data = self._data
        return as_column.frame(self.arrow, data.columns, data.categories, data.nullable)

    @cached_property
    def label(self) -> pd.Series[Any]:
        """The label, aligned with `features`."""
        name = self._data.columns.label
        return as_column.label(self.arrow[name], name)

    def __len__(self) -> int:
        return int(self.arrow.num_rows)


class Data:
    """One split. `features` and `label` hold all rows in memory; `batches()` never more than a few thousand.

    Args:
        name: `train`, `validation` or `test`.
        source: Where the rows come from.
        columns: What is read of them.
        reference: The training split, whose categories hold in the others too; None if this is it.
    """

    def __init__(self, name: str, source: Source, columns: Columns, reference: Data | None = None) -> None:
        self.name = name
        self.source = source
        self.columns = columns
        self._reference = reference
        self._kept: pa.Table | None = None

    @cached_property
    def profile(self) -> Profile:
        """What one pass over all rows finds; it keeps them where they are few."""
        profile, kept, size = Profile(), [], 0
        for batch in self.source.batches(self.columns.names):
            rows = profile.add(pa.Table.from_batches([batch]), self.columns)
            size += rows.nbytes
            if size <= CACHE_BYTES:
                kept.append(rows)
            else:
                kept.clear()
        if size <= CACHE_BYTES and kept:
            self._kept = pa.concat_tables(kept)
        return profile

    @property
    def categories(self) -> dict[str, list[str]]:
        """By feature, the values of text that is given as a category."""
        return self._reference.categories if self._reference is not None else self._own_categories

    @cached_property
    def _own_categories(self) -> dict[str, list[str]]:
        return self.profile.categories()

    @cached_property
    def nullable(self) -> set[str]:
        """The features in which NULL occurs, here or in training."""
        own = {name for name, count in self.profile.nulls.items() if count}
        return own | self._reference.nullable if self._reference is not None else own

    @property
    def features(self) -> pd.DataFrame:
        """All feature columns of all rows."""
        return self._rows.features

    @property
    def label(self) -> pd.Series[Any]:
        """The label of all rows, aligned with `features`."""
        return self._rows.label

    @property
    def arrow(self) -> pa.Table:
        """All rows as they were read: the feature columns and the label."""
        return self._rows.arrow

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[Rows]:
        """The split in pieces of `rows` rows, each with `features`, `label` and `arrow` of its own.

        May be called again for another pass. Memory stays bounded however long the table is.
        """
        waiting: list[pa.Table] = []
        held = 0
        for piece in self._pieces(rows):
            waiting.append(piece)
            held += piece.num_rows
            while held >= rows:
                joined = pa.concat_tables(waiting)
                yield Rows(joined.slice(0, rows), self)
                waiting, held = [joined.slice(rows)], held - rows
        if held:
            yield Rows(pa.concat_tables(waiting), self)

    def sample(self) -> Rows:
        """The first rows, which have the types of all."""
        return next(self.batches())

    def __len__(self) -> int:
        return self.profile.rows

    @cached_property
    def _rows(self) -> Rows:
        _ = self.profile
        return Rows(self._kept if self._kept is not None else pa.concat_tables(self._pieces(BATCH_ROWS)), self)

    def _pieces(self, rows: int) -> Iterator[pa.Table]:
        _ = self.profile
        if self._kept is not None:
            for start in range(0, self._kept.num_rows, rows):
                yield self._kept.slice(start, rows)
            return
        for batch in self.source.batches(self.columns.names):
            yield as_column.labelled(pa.Table.from_batches([batch]), self.columns)
