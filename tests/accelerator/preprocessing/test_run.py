"""Preprocessing in its own container on the local cloud: clean tables, dead letters, and tables left as they were."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from google.cloud import aiplatform, bigquery
from tests.accelerator.project import ROWS, load_orders, make
from tests.conftest import REGION, LocalCloud

from accelerator import config as configuration
from accelerator.config import Config
from accelerator.steps import build
from accelerator.steps.images import Images

SECTION = """
preprocessing:
  tables:
    shop.orders: {to: shop.clean, rows: clean}
    shop.small: {to: shop.counted, batches: count}
  rejected: shop.rejected
  max_rejected: 0.5
"""
CODE = """
import pyarrow as pa

from accelerator.contract import Reject


def clean(row):
    if row["items"] == 6:
        raise Reject("six items")
    return {**row, "total": row["price"] * row["items"]}


def late(row):
    if row["price"] > 40:
        raise ValueError(f"a price of {row['price']}")
    return row


def count(batch):
    return pa.RecordBatch.from_arrays(
        [*batch.columns, pa.array([batch.num_rows] * batch.num_rows)], [*batch.schema.names, "rows"]
    )
"""


@pytest.fixture(scope="module")
def config(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("preprocessing")
    made = make(folder / "project", f"test-{uuid.uuid4().hex[:12]}")
    with (made.directory / "mlops.yaml").open("a") as file:
        file.write(SECTION)
    (made.directory / "preprocessing.py").write_text(CODE)
    load_orders(made, folder)
    client = bigquery.Client(project=made.project)
    client.query_and_wait("CREATE VIEW shop.small AS SELECT price FROM shop.orders WHERE items = 1")
    return configuration.load(made.directory)


@pytest.fixture(scope="module")
def images(config: Config) -> Images:
    return build.build(config)


def run(config: Config, images: Images, *settings: str) -> str:
    """Runs the container; gives the error of its job, empty if it succeeded."""
    aiplatform.init(project=config.project, location=REGION, staging_bucket=f"gs://{config.bucket_name}")
    arguments = [part for setting in settings for part in ("--set", setting)]
    container = {"image_uri": images.preprocessing, "args": arguments}
    pool = {"machine_spec": {"machine_type": "n1-standard-2"}, "replica_count": 1, "container_spec": container}
    job = aiplatform.CustomJob(display_name="preprocess", worker_pool_specs=[pool])
    try:
        job.run()
    except RuntimeError as error:
        return str(error)
    return ""


def rows(config: Config, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in bigquery.Client(project=config.project).query_and_wait(f"SELECT * FROM {table}")]


def test_clean_rows_and_dead_letters(config: Config, images: Images) -> None:
    assert run(config, images) == ""
    clean = rows(config, "shop.clean")
    dead = rows(config, "shop.rejected")
    assert len(clean) + len(dead) == ROWS
    assert all(row["total"] == row["price"] * row["items"] and row["items"] != 6 for row in clean)
    assert {row["reason"] for row in dead} == {"six items"}
    assert {row["source"] for row in dead} == {f"{config.project}.shop.orders"}
    assert all(json.loads(row["row"])["items"] == 6 for row in dead)
    assert len(rows(config, "shop.counted")) == len([row for row in rows(config, "shop.orders") if row["items"] == 1])
    # once more: the clean table is replaced, dead letters are added
    assert run(config, images) == ""
    assert (len(rows(config, "shop.clean")), len(rows(config, "shop.rejected"))) == (len(clean), 2 * len(dead))


def test_too_many_rejected_rows_leave_the_table_as_it_was(config: Config, images: Images) -> None:
    before = bigquery.Client(project=config.project).get_table("shop.clean").modified
    said = run(config, images, "preprocessing.max_rejected=0.01")
    assert "rows of" in said
    assert "were rejected, 14" in said
    assert bigquery.Client(project=config.project).get_table("shop.clean").modified == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["preprocessing.tables={shop.orders: {to: shop.late, rows: late}}"], "late raised ValueError: a price of 4"),
        (["preprocessing.tables={shop.ordrs: {to: shop.late, rows: late}}"], "does not have the table"),
        (["preprocessing.tables={shop.orders: {to: shop.late, rows: claen}}"], "defines no function claen"),
    ],
)
def test_faults_are_named(config: Config, images: Images, settings: list[str], words: str) -> None:
    assert words in run(config, images, *settings)
    assert "late" not in [table.table_id for table in bigquery.Client(project=config.project).list_tables("shop")]
