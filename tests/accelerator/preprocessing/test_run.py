"""Preprocessing in its own container on the local cloud: clean tables, dead letters, and tables left as they were."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from google.cloud import aiplatform, bigquery, storage
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


def every(batch):
    return batch


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


def run(config: Config, images: Images, *settings: str, arguments: Sequence[str] = ()) -> str:
    """Runs the container; gives the error of its job, empty if it succeeded."""
    aiplatform.init(project=config.project, location=REGION, staging_bucket=f"gs://{config.bucket_name}")
    arguments = [*arguments, *(part for setting in settings for part in ("--set", setting))]
    container = {"image_uri": images.preprocessing, "args": arguments}
    pool = {"machine_spec": {"machine_type": "n1-standard-2"}, "replica_count": 1, "container_spec": container}
    job = aiplatform.CustomJob(display_name="preprocess", worker_pool_specs=[pool])
    try:
        job.run()
    except RuntimeError as error:
        return str(error)
    return ""


def run_on_dataflow(config: Config, images: Images) -> str:
    """The same on Dataflow, which the local cloud does not have."""
    return run(config, images, "preprocessing.runner=DataflowRunner", arguments=["--image", images.preprocessing])


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
    # rows of the raw table do not lie about in the bucket
    left = storage.Client(project=config.project).list_blobs(config.bucket_name, prefix="preprocessing/")
    assert [blob.name for blob in left] == []
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
        (["preprocessing.runner=DataflowRunner"], "workers need an image, and none is given"),
        ([], "dataflow.googleapis.com answers UNIMPLEMENTED"),
    ],
    ids=["raises", "table", "function", "image", "dataflow"],
)
def test_faults_are_named(config: Config, images: Images, settings: list[str], words: str) -> None:
    said = run(config, images, *settings) if settings else run_on_dataflow(config, images)
    assert words in said
    assert "late" not in [table.table_id for table in bigquery.Client(project=config.project).list_tables("shop")]


def test_arrays_and_times_stay_what_they_are(config: Config, images: Images) -> None:
    client = bigquery.Client(project=config.project)
    client.query_and_wait(
        "CREATE OR REPLACE TABLE shop.kinds AS SELECT [1, 2] AS list, DATETIME '2026-01-01 10:00:00' AS at, "
        "TIMESTAMP '2026-01-01 10:00:00+00' AS moment, NUMERIC '2.50' AS tax, DATE '2026-01-02' AS day, "
        "[STRUCT(1 AS a)] AS parts"
    )
    table = "{to: shop.kinds_clean, batches: every}"
    assert run(config, images, f"preprocessing.tables={{shop.kinds: {table}}}") == ""
    assert rows(config, "shop.kinds_clean") == rows(config, "shop.kinds")
    raw, made = (client.get_table(f"shop.{name}").schema for name in ("kinds", "kinds_clean"))
    assert [(field.name, field.field_type, field.mode) for field in made] == [
        (field.name, field.field_type, field.mode) for field in raw
    ]


def test_the_image_of_dataflows_workers_has_their_boot_program(config: Config) -> None:
    on_dataflow = configuration.load(config.path, overrides=["preprocessing.runner=DataflowRunner"])
    *_, team, boot = build._steps(on_dataflow, "preprocessing", "r/p/mlops/x:1", "1")
    assert team["args"][-3:] == ["-t", "r/p/mlops/x:1-base", "project"]
    assert "BASE=r/p/mlops/x:1-base" in boot["args"]
    assert boot["args"][-3:] == ["-t", "r/p/mlops/x:1", "images"]
    assert boot["wait_for"] == [team["id"]]
    [version] = [argument for argument in boot["args"] if argument.startswith("BEAM=")]
    assert re.fullmatch(r"BEAM=2\.\d+\.\d+", version)
