"""Where the rows of a tabular dataset are: what its metadata says, checked."""

from __future__ import annotations

import csv
import fnmatch
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from localcloud.errors import NotFound
from localcloud.objects import Objects, split_uri
from localcloud.vertex.common import invalid

TABULAR = "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml"
_FIELD = "dataset.metadata"
_TABLE = re.compile(r"bq://(?P<table>[^.]+(?:\.[^.]+)*\.[^.]+\.[^.]+)")
_WILDCARDS = "*?["


@dataclass(frozen=True)
class TabularSource:
    """The input_config of a tabular dataset.

    Args:
        table: `project.dataset.table`; empty where the rows are in files.
        files: gs:// URIs of CSV files with a header, wildcards allowed.
    """

    table: str
    files: tuple[str, ...]

    @classmethod
    def of(cls, metadata: Any) -> TabularSource:
        """Read `metadata` of a dataset, a google.protobuf.Value.

        Raises:
            InvalidArgument: It names no BigQuery table and no files, or both.
        """
        content: Any = json_format.MessageToDict(metadata) if metadata.WhichOneof("kind") == "struct_value" else {}
        given = content.get("inputConfig") or content.get("input_config") or {}
        if not isinstance(given, dict):
            given = {}
        bigquery: Any = given.get("bigquerySource") or given.get("bigquery_source")
        files: Any = given.get("gcsSource") or given.get("gcs_source")
        if bool(bigquery) == bool(files):
            raise invalid(f"{_FIELD}.inputConfig", "Exactly one of gcsSource and bigquerySource is required.")
        if bigquery:
            uri = bigquery.get("uri") or bigquery.get("inputUri") or ""
            found = _TABLE.fullmatch(uri)
            if found is None:
                raise invalid(
                    f"{_FIELD}.inputConfig.bigquerySource.uri", f"Must be bq://project.dataset.table, not `{uri}`."
                )
            return cls(found["table"], ())
        uris = files.get("uri") or files.get("uris") or []
        uris = [uris] if isinstance(uris, str) else uris
        place = f"{_FIELD}.inputConfig.gcsSource.uri"
        if not uris:
            raise invalid(place, "At least one URI is required.")
        for uri in uris:
            if not re.fullmatch(r"gs://[^/]+/.+", uri):
                raise invalid(place, f"Must be gs://bucket/object, not `{uri}`.")
        return cls("", tuple(uris))

    def objects(self, objects: Objects) -> list[str]:
        """The files there are.

        Raises:
            NotFound: A URI names none.
        """
        found: list[str] = []
        for uri in self.files:
            prefix = re.split(r"[*?\[]", uri)[0]
            folder = prefix[: prefix.rindex("/") + 1]
            matching = (
                [name for name in objects.list(folder) if fnmatch.fnmatchcase(name, uri)]
                if any(sign in uri for sign in _WILDCARDS)
                else [uri] * objects.exists(uri)
            )
            if not matching:
                raise NotFound(f"There are no files under `{uri}`.")
            found += matching
        return found


def columns(objects: Objects, files: Sequence[str]) -> list[str]:
    """The columns of CSV files, all of which must have the same header.

    Raises:
        InvalidArgument: They differ, or a file is empty.
    """
    headers = {uri: _header(objects, uri) for uri in files}
    first = headers[files[0]]
    for uri, header in headers.items():
        if header != first or not header:
            raise invalid(
                f"{_FIELD}.inputConfig.gcsSource.uri",
                f"The header of `{uri}` is {', '.join(header) or 'empty'}, that of `{files[0]}` {', '.join(first)}.",
            )
    return first


def _header(objects: Objects, uri: str) -> list[str]:
    split_uri(uri)
    with objects.path(uri).open("rb") as file:
        line = file.readline(1 << 20).decode("utf-8-sig", errors="replace")
    return next(csv.reader(io.StringIO(line)), [])
