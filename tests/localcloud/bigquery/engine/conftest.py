"""A warehouse with an engine, in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.bigquery.engine.engine import Engine
from localcloud.bigquery.tables import Tables
from localcloud.bigquery.types import type_of

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine over an empty warehouse with the dataset `p:d`."""
    root: Path = tmp_path_factory.mktemp("bigquery")
    tables = Tables(root)
    tables.insert_dataset("p", {"datasetReference": {"datasetId": "d"}})
    yield Engine(tables)
    tables.close()


@pytest.fixture
def run(engine: Engine) -> Run:
    """Runs SQL in the project p and gives its rows."""

    def execute(sql: str, **options: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = engine.execute(sql, project="p", **options).table().to_pylist()
        return rows

    return execute


@pytest.fixture
def value(engine: Engine) -> Callable[[str], tuple[str, Any]]:
    """The GoogleSQL type and the value of one expression."""

    def execute(expression: str) -> tuple[str, Any]:
        result = engine.execute(f"SELECT {expression}", project="p")
        rows = result.table()
        assert rows.num_rows == 1
        return str(type_of(result.fields[0])), rows.column(0)[0].as_py()

    return execute
