"""What all tests share: one local cloud for the session, a fresh project for each test."""

from __future__ import annotations

# Before anything loads the catalog: see localcloud.catalog.load.
import google.cloud.aiplatform_v1
import google.cloud.aiplatform_v1beta1
import google.cloud.bigquery_storage_v1
import google.cloud.devtools.cloudbuild_v1
import google.cloud.logging_v2
import google.cloud.resourcemanager_v3
import google.pubsub_v1  # noqa: F401
