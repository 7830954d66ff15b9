"""Training sets: which rows are in them, and data that nothing can be learned from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery
from tests.accelerator.project import ROWS, load_orders, make

from accelerator import config as configuration
from accelerator.config import Config
from accelerator.errors import AcceleratorError
from accelerator.steps import training_set


@pytest.fixture
def config(project: str, tmp_path: Path) -> Callable[..., Config]:
    """The project with its table, under settings."""
    made = make(tmp_path / "project", project)
    load_orders(made, tmp_path)
    return lambda *settings: configuration.load(made.directory, overrides=settings)


def rows(table: str) -> list[dict[str, Any]]:
    client = bigquery.Client(project=table.split(".")[0])
    return [dict(row) for row in client.query_and_wait(f"SELECT * FROM `{table}`")]


def test_windows_become_a_column(config: Callable[..., Config]) -> None:
    made = training_set.make(config(), "one")
    assert made.features == ("price", "items")
    found = rows(made.table)
    assert len(found) == sum(made.rows.values()) < ROWS + 1
    months = {"training": {1, 2}, "validation": {3}, "test": {4}}
    assert all(row["ordered"].month in months[row["ml_use"]] for row in found)
    table = bigquery.Client(project=made.table.split(".")[0]).get_table(made.table)
    assert table.expires is not None
    assert training_set.make(config(), "one").rows == made.rows
    assert training_set.held_out(made.table, config().project, "returned") == "test"


def test_fractions_keep_equal_keys_together(config: Callable[..., Config]) -> None:
    settings = ("data.split={train: 0.5, validation: 0.25, test: 0.25}", "data.key=items", "data.time=null")
    found = rows(training_set.make(config(*settings), "two").table)
    assert len(found) == ROWS
    splits: dict[int, set[str]] = {}
    for row in found:
        splits.setdefault(row["items"], set()).add(row["ml_use"])
    assert all(len(each) == 1 for each in splits.values())
    again = rows(training_set.make(config(*settings), "three").table)
    assert sorted((row["price"], row["ml_use"]) for row in found) == sorted(
        (row["price"], row["ml_use"]) for row in again
    )


def test_a_column_may_tell_the_split(config: Callable[..., Config]) -> None:
    made = config()
    client = bigquery.Client(project=made.project)
    use = "CASE MOD(items, 3) WHEN 0 THEN 'training' WHEN 1 THEN 'validation' ELSE 'unused' END"
    client.query_and_wait(f"CREATE TABLE shop.told AS SELECT *, {use} AS use FROM shop.orders")
    found = training_set.make(config("data.split={column: use}", "data.table=shop.told"), "four")
    assert set(found.rows) == {"train", "validation"}
    assert training_set.held_out(found.table, made.project, "returned") == "validation"
    assert found.features == ("price", "items")
    assert all(row["items"] % 3 == (row["ml_use"] == "validation") for row in rows(found.table))


@pytest.mark.parametrize(
    ("settings", "sql", "words"),
    [
        (["data.table=shop.ordrs"], "", "'orders'|orders"),
        (["data.label=returnd"], "", "no column 'returnd'"),
        (["data.split.test=2031-01"], "", r"no rows in the test split"),
        (["data.time=price"], "", "'price' is of type FLOAT"),
        (["data.split={train: '..2026-02'}"], "", "no rows to validate on"),
        ([], "SELECT * REPLACE (TRUE AS returned) FROM shop.orders", "'returned' is True in every training row"),
        ([], "SELECT * REPLACE (CAST(NULL AS FLOAT64) AS price) FROM shop.orders", "'price' is NULL in every"),
        ([], "SELECT * REPLACE (IF(EXTRACT(MONTH FROM ordered) = 4, NULL, returned) AS returned) FROM shop.orders",
         "no rows with a label in the test split"),
        ([], "SELECT *, 1 AS ml_use FROM shop.orders", "'ml_use' is a feature"),
        ([], "SELECT *, [price] AS prices FROM shop.orders", "'prices' .* which no model takes"),
    ],
)  # fmt: skip
def test_data_that_nothing_can_be_learned_from(
    config: Callable[..., Config], settings: list[str], sql: str, words: str
) -> None:
    made = config()
    client = bigquery.Client(project=made.project)
    if sql:
        client.query_and_wait(f"CREATE TABLE shop.bad AS {sql}")
        settings = ["data.table=shop.bad"]
    with pytest.raises(AcceleratorError, match=words):
        training_set.make(config(*settings), "bad")
    client.create_dataset("mlops", exists_ok=True)
    assert not list(client.list_tables("mlops"))


def test_sql_makes_the_table_first(config: Callable[..., Config]) -> None:
    made = config()
    (made.directory / "features.sql").write_text(
        "CREATE OR REPLACE TABLE shop.made AS SELECT *, price * items AS total FROM shop.orders"
    )
    found = training_set.make(config("data.table=shop.made", "data.sql=features.sql"), "five")
    assert "total" in found.features
