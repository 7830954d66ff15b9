"""Datasets, tables, policies and the discovery document by REST."""

from __future__ import annotations

import datetime as dt

import pytest
import requests
from google.api_core.exceptions import BadRequest, Conflict, GoogleAPICallError, NotFound, PreconditionFailed
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField
from tests.conftest import LocalCloud


def test_datasets(client: bigquery.Client) -> None:
    dataset = bigquery.Dataset(f"{client.project}.one")
    dataset.labels = {"team": "red"}
    dataset.description = "First"
    created = client.create_dataset(dataset)
    assert (created.location, created.labels, created.description) == ("US", {"team": "red"}, "First")
    with pytest.raises(Conflict, match="Already Exists: Dataset"):
        client.create_dataset("one")
    client.create_dataset("two")
    assert [item.dataset_id for item in client.list_datasets()] == ["one", "two"]
    assert [item.dataset_id for item in client.list_datasets(filter="labels.team:red")] == ["one"]
    assert [item.dataset_id for item in client.list_datasets(filter="labels.team:blue")] == []
    assert [item.dataset_id for item in client.list_datasets(page_size=1)] == ["one", "two"]
    created.description = "Changed"
    created.default_table_expiration_ms = 3_600_000
    assert client.update_dataset(created, ["description", "default_table_expiration_ms"]).description == "Changed"
    client.create_table(f"{client.project}.one.t")
    with pytest.raises(BadRequest, match="still in use"):
        client.delete_dataset("one")
    client.delete_dataset("one", delete_contents=True)
    with pytest.raises(NotFound, match="Not found: Dataset"):
        client.get_dataset("one")


def test_hidden_datasets_are_listed_only_when_asked(client: bigquery.Client) -> None:
    client.create_dataset("_hidden")
    assert list(client.list_datasets()) == []
    assert [item.dataset_id for item in client.list_datasets(include_all=True)] == ["_hidden"]


def test_tables(client: bigquery.Client, dataset: str) -> None:
    table = bigquery.Table(f"{client.project}.data.t", schema=[SchemaField("a", "INT64", description="An a")])
    table.time_partitioning = bigquery.TimePartitioning(type_="DAY")
    table.clustering_fields = ["a"]
    table.labels = {"k": "v"}
    table.expires = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    created = client.create_table(table)
    assert created.schema[0].description == "An a"
    assert created.time_partitioning.type_ == "DAY"
    assert (created.num_rows, created.table_type, created.labels) == (0, "TABLE", {"k": "v"})
    assert created.self_link.endswith(f"/projects/{client.project}/datasets/data/tables/t")
    with pytest.raises(Conflict, match="Already Exists: Table"):
        client.create_table(table)
    created.schema = [*created.schema, SchemaField("b", "STRING")]
    changed = client.update_table(created, ["schema"])
    assert [field.name for field in changed.schema] == ["a", "b"]
    created.description = "Too late"
    with pytest.raises(PreconditionFailed):
        client.update_table(created, ["description"])
    changed.schema = changed.schema[:1]
    with pytest.raises(BadRequest, match="b"):
        client.update_table(changed, ["schema"])
    assert [item.table_id for item in client.list_tables("data")] == ["t"]
    client.delete_table("data.t")
    client.delete_table("data.t", not_found_ok=True)
    with pytest.raises(NotFound, match="Not found: Table"):
        client.get_table("data.t")


def test_views(client: bigquery.Client, dataset: str) -> None:
    view = bigquery.Table(f"{client.project}.data.v")
    view.view_query = "SELECT 1 AS a, 'x' AS b"
    created = client.create_table(view)
    assert created.table_type == "VIEW"
    assert [(field.name, field.field_type) for field in created.schema] == [("a", "INTEGER"), ("b", "STRING")]
    assert [tuple(row.values()) for row in client.query_and_wait("SELECT * FROM data.v")] == [(1, "x")]
    view = bigquery.Table(f"{client.project}.data.w")
    view.view_query = "SELECT nothing FROM data.nowhere"
    with pytest.raises(GoogleAPICallError, match="nowhere"):
        client.create_table(view)


def test_policies(client: bigquery.Client, dataset: str) -> None:
    table = client.create_table(bigquery.Table(f"{client.project}.data.t", schema=[SchemaField("a", "INT64")]))
    policy = client.get_iam_policy(table)
    assert policy.bindings == []
    policy.bindings = [{"role": "roles/bigquery.dataViewer", "members": {"user:a@example.com"}}]
    client.set_iam_policy(table, policy)
    assert client.get_iam_policy(table).bindings[0]["role"] == "roles/bigquery.dataViewer"
    with pytest.raises(PreconditionFailed):
        client.set_iam_policy(table, policy)
    assert client.test_iam_permissions(table, ["bigquery.tables.get"])["permissions"] == ["bigquery.tables.get"]
    client.delete_table(table)
    again = client.create_table(bigquery.Table(f"{client.project}.data.t", schema=[SchemaField("a", "INT64")]))
    assert client.get_iam_policy(again).bindings == []


def test_models_projects_and_the_service_account(client: bigquery.Client, dataset: str) -> None:
    assert list(client.list_models("data")) == []
    assert client.project in [item.project_id for item in client.list_projects()]
    assert client.get_service_account_email().startswith("bq-")


def test_the_discovery_document_names_what_is_served(cloud: LocalCloud, client: bigquery.Client) -> None:
    found = requests.get("https://bigquery.googleapis.com/$discovery/rest?version=v2", timeout=30).json()
    assert found["servicePath"] == "bigquery/v2/"
    methods = found["resources"]["tables"]["methods"]
    assert methods["get"]["path"] == "projects/{+projectId}/datasets/{+datasetId}/tables/{+tableId}"
    assert found["resources"]["jobs"]["methods"]["insert"]["supportsMediaUpload"] is True
    same = requests.get(f"{cloud.url}/discovery/v1/apis/bigquery/v2/rest", timeout=30).json()
    assert same["resources"].keys() == found["resources"].keys()


def test_what_is_not_there_says_so(client: bigquery.Client) -> None:
    answer = requests.get(
        f"https://bigquery.googleapis.com/bigquery/v2/projects/{client.project}/datasets/d/tables/t/rowAccessPolicies",
        timeout=30,
    )
    assert answer.status_code == 501
    assert "rowAccessPolicies" in answer.json()["error"]["message"]
    assert answer.json()["error"]["status"] == "UNIMPLEMENTED"
    answer = requests.post(
        f"https://bigquery.googleapis.com/bigquery/v2/projects/{client.project}/datasets", data="{", timeout=30
    )
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "parseError")
