"""Splits of tabular data as SQL: which rows are for training, validation and testing.

https://cloud.google.com/vertex-ai/docs/tabular-data/data-splits and the messages of InputDataConfig. All are
deterministic: the same rows and settings give the same splits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from localcloud.errors import Unimplemented
from localcloud.vertex.common import invalid

NAMES = ("training", "validation", "test")
DEFAULT_FRACTIONS = (0.8, 0.1, 0.1)
COLUMN = "_vertex_split"
"""The column of the split's name in the intermediate table."""
_STRATA = 500
"""So many of the most frequent values are stratified; all others are drawn at random."""
_FEWEST = 3
"""Values with fewer rows are drawn at random."""
_FIELD = "training_pipeline.input_data_config"


@dataclass(frozen=True)
class Split:
    """How rows are divided.

    Args:
        kind: `fraction`, `predefined`, `timestamp` or `stratified`.
        key: The column that it goes by; empty for `fraction`.
        fractions: Of training, validation and test; not used by `predefined`.
    """

    kind: str
    key: str = ""
    fractions: tuple[float, float, float] = DEFAULT_FRACTIONS

    @classmethod
    def of(cls, config: Any) -> Split:
        """Read the split of an InputDataConfig.

        Raises:
            InvalidArgument: It is of a kind that tabular data does not have, or its fractions are none.
        """
        kind = config.WhichOneof("split") or "fraction_split"
        if kind == "filter_split":
            raise invalid(f"{_FIELD}.filter_split", "Filter split is not supported for tabular Datasets.")
        given = getattr(config, kind)
        if kind == "predefined_split":
            return cls("predefined", _key(given, kind))
        fractions = (given.training_fraction, given.validation_fraction, given.test_fraction)
        if not any(fractions):
            fractions = DEFAULT_FRACTIONS
        for name, fraction in zip(NAMES, fractions, strict=True):
            if not 0 <= fraction <= 1 or math.isnan(fraction):
                raise invalid(f"{_FIELD}.{kind}.{name}_fraction", f"Must be from 0 to 1, not {fraction:g}.")
        if sum(fractions) > 1 + 1e-6:
            raise invalid(f"{_FIELD}.{kind}", f"The fractions sum to {sum(fractions):g}; they must not exceed 1.")
        if kind == "fraction_split":
            return cls("fraction", "", fractions)
        return cls(kind.removesuffix("_split"), _key(given, kind), fractions)

    def check(self, columns: Sequence[str]) -> None:
        """Refuse a key that is no column.

        Raises:
            InvalidArgument: It names the key.
        """
        if self.key and self.key not in columns:
            raise invalid(
                f"{_FIELD}.{self.kind}_split.key",
                f"The Dataset has no column `{self.key}`; it has {', '.join(columns)}.",
            )

    def sql(self, table: str) -> str:
        """The rows of a table that are in a split, each with its split's name under `COLUMN`."""
        return f"SELECT * FROM ({self._named(table)}) WHERE {COLUMN} IS NOT NULL"

    def _named(self, table: str) -> str:
        key = f"`{self.key}`"
        if self.kind == "predefined":
            listed = ", ".join(f"'{name}'" for name in NAMES)
            text = f"CAST({key} AS STRING)"
            return f"SELECT *, IF({text} IN ({listed}), {text}, NULL) AS {COLUMN} FROM `{table}`"
        chance = "MOD(MOD(FARM_FINGERPRINT(TO_JSON_STRING(t)), 1000003) + 1000003, 1000003) / 1000003"
        if self.kind == "fraction":
            return f"SELECT *, {self._case(chance)} AS {COLUMN} FROM `{table}` AS t"
        if self.kind == "timestamp":
            moment = f"SAFE_CAST({key} AS TIMESTAMP)"
            rank = f"ROW_NUMBER() OVER (ORDER BY {moment}, FARM_FINGERPRINT(TO_JSON_STRING(t)))"
            return (
                f"SELECT *, {self._case(f'({rank} - 1) / COUNT(*) OVER ()')} AS {COLUMN} "
                f"FROM `{table}` AS t WHERE {moment} IS NOT NULL"
            )
        value = f"TO_JSON_STRING(t.{key})"
        strata = (
            f"SELECT {value} AS _value, COUNT(*) AS _rows FROM `{table}` AS t GROUP BY _value "
            f"HAVING _rows >= {_FEWEST} ORDER BY _rows DESC, _value LIMIT {_STRATA}"
        )
        rank = f"ROW_NUMBER() OVER (PARTITION BY {value} ORDER BY FARM_FINGERPRINT(TO_JSON_STRING(t)))"
        draw = f"IF(_rows IS NULL, {chance}, ({rank} - 0.5) / _rows)"
        return (
            f"SELECT t.*, {self._case(draw)} AS {COLUMN} FROM `{table}` AS t LEFT JOIN ({strata}) ON {value} = _value"
        )

    def _case(self, draw: str) -> str:
        """The split's name for a draw from [0, 1)."""
        ends = (self.fractions[0], self.fractions[0] + self.fractions[1], sum(self.fractions))
        if ends[2] > 1 - 1e-6:
            ends = (*ends[:2], 1.0)
        cases = " ".join(f"WHEN {draw} < {end!r} THEN '{name}'" for name, end in zip(NAMES, ends, strict=True))
        return f"CASE {cases} END"


def _key(given: Any, kind: str) -> str:
    if not given.key:
        raise invalid(f"{_FIELD}.{kind}.key", "Required field is not set.")
    if "`" in given.key or "\\" in given.key:
        raise invalid(f"{_FIELD}.{kind}.key", f"`{given.key}` is no column name.")
    return str(given.key)


def refuse_unsupported(config: Any) -> None:
    """Refuse what only annotated data has.

    Raises:
        Unimplemented: It names the field.
    """
    for field in ("annotations_filter", "annotation_schema_uri", "saved_query_id"):
        if getattr(config, field):
            raise Unimplemented(f"{_FIELD}.{field}: the local cloud has tabular datasets, which have no annotations.")
