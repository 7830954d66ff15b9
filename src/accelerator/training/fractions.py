"""Splits by fraction: what stands in a row says by its hash which split the row is in, however the rows arrive.

Reading the rows is left to the source they are drawn from; which fractions there are is mlops.yaml's to say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from accelerator.training.columns import is_text, select

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from accelerator.training.sources import Source


class FractionSource:
    """The rows of another source whose hash falls into one part of [0, 1).

    Args:
        rows: All rows, read anew for each split and pass.
        by: The columns that are hashed: rows that are equal in them are in the same split.
        part: Where the part starts (included) and ends (not included).
        place: What an error names.
    """

    def __init__(self, rows: Source, *, by: Sequence[str], part: tuple[float, float], place: str) -> None:
        self.place = place
        self._rows, self._by, self._part = rows, by, part

    def schema(self) -> pa.Schema:
        return self._rows.schema()

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        start, end = self._part
        for batch in self._rows.batches(list(dict.fromkeys([*columns, *self._by]))):
            drawn = draws(batch, self._by)
            chosen = batch.filter(pa.array((drawn >= start) & (drawn < end)))
            if chosen.num_rows:
                yield select(chosen, columns)


def draws(batch: pa.RecordBatch, by: Iterable[str]) -> NDArray[np.float64]:
    """A number in [0, 1) for each row, uniform over different rows and always the same for the same row.

    Only the names and values of the columns `by` count: not their order, nor the width of a number's type, nor
    how text is encoded. NULL and NaN are one value.
    """
    total = np.zeros(batch.num_rows, np.uint64)
    for name in by:
        column = batch.column(name)
        floating = pa.types.is_floating(column.type)
        there = pc.invert(pc.is_null(column, nan_is_null=floating)).to_numpy(zero_copy_only=False)
        total += np.where(there, _mixed(_words(column) + _word_of(name)), np.uint64(0))
    # The upper 53 bits: what a float holds exactly.
    return (_mixed(total) >> np.uint64(11)).astype(np.float64) * np.float64(2.0**-53)


def _words(column: pa.Array) -> NDArray[np.uint64]:
    """64 bits for each value; whatever they are where there is none."""
    kind = column.type
    if is_text(kind):
        # Each text is hashed once a batch, however often it occurs.
        encoded = column.cast(pa.string()).dictionary_encode()
        words = np.array([*map(_word_of, encoded.dictionary.to_pylist()), 0], np.uint64)
        places: NDArray[np.int32] = pc.fill_null(encoded.indices, len(words) - 1).to_numpy()
        return words[places]
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = pc.fill_null(column.cast(pa.float64(), safe=False), 0.0).to_numpy()
        # 2 and 2.0 are one value: which of the two a CSV holds depends on the rest of its column.
        whole = (np.floor(numbers) == numbers) & (np.abs(numbers) < 2.0**63)
        return np.where(whole, np.where(whole, numbers, 0).astype(np.int64).view(np.uint64), numbers.view(np.uint64))
    whole_numbers: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64(), safe=False), 0).to_numpy(
        zero_copy_only=False
    )
    return whole_numbers.view(np.uint64)


def _word_of(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little"))


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit of a word over all of it.

    The finalizer of SplitMix64: Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
    """
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
