"""A bucket of one's own on the session's local cloud."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from google.cloud import storage
from tests.conftest import LocalCloud


@pytest.fixture
def client(cloud: LocalCloud, project: str) -> Iterator[storage.Client]:
    """google-cloud-storage, pointed at the local cloud by the environment alone."""
    client = storage.Client(project=project)
    yield client
    client.close()


@pytest.fixture
def bucket(client: storage.Client) -> storage.Bucket:
    """A fresh bucket."""
    return client.create_bucket(f"bucket-{uuid.uuid4().hex[:16]}")
