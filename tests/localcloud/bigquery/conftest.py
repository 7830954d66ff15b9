"""What BigQuery's tests share: Google's client on the session's local cloud, and a dataset."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.cloud import bigquery, storage


@pytest.fixture
def client(project: str) -> Iterator[bigquery.Client]:
    """Google's client, unmodified, in a project of the test's own."""
    with bigquery.Client(project=project) as client:
        yield client


@pytest.fixture
def dataset(client: bigquery.Client) -> str:
    """An empty dataset `data`."""
    client.create_dataset("data")
    return "data"


@pytest.fixture
def bucket(project: str) -> Iterator[storage.Bucket]:
    """A bucket of the test's own."""
    with storage.Client(project=project) as client:
        yield client.create_bucket(f"{project}-files")
