"""Extract jobs: a table or query result into files on gs://.

The files are written by `formats/write.py` in a folder aside and appear as objects when all of them are complete.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from localcloud.bigquery.failures import Invalid, Refused
from localcloud.bigquery.formats.write import COMPRESSIONS, ExtractOptions, write_file
from localcloud.bigquery.reading import Reading
from localcloud.bigquery.refs import TableRef
from localcloud.objects import Objects, split_uri

from .runner import Job

_CHUNK_ROWS = 65_536
_SHARD_BYTES = 256 << 20
_FILE_BYTES = 1 << 30


@dataclass
class ExtractWork:
    """Runs extract jobs.

    Args:
        reading: Where rows come from.
        objects: Where files go.
        folder: Where they are while they are being written.
    """

    reading: Reading
    objects: Objects
    folder: Path

    def __call__(self, job: Job) -> None:
        """Runs the job and fills in `statistics.extract`."""
        configuration = job.configuration
        if configuration.get("sourceModel"):
            raise Refused("Extracting models is not carried over to the local BigQuery", location="sourceModel")
        if not configuration.get("sourceTable"):
            raise Invalid("Required parameter is missing: sourceTable")
        source = TableRef.of(configuration["sourceTable"], job.ref.project)
        options = _options(configuration)
        uris = configuration.get("destinationUris") or []
        if not uris:
            raise Invalid("Required parameter is missing: destinationUris")
        for uri in uris:
            self._check(uri)
        snapshot = self.reading.snapshot(source, check=job.cancellation.check)
        table = snapshot.table
        aside = self.folder / secrets.token_hex(8)
        counts = []
        try:
            for position, uri in enumerate(uris):
                start = table.num_rows * position // len(uris)
                part = table.slice(start, table.num_rows * (position + 1) // len(uris) - start)
                shards = _shards(uri, part)
                for name, rows in shards:
                    bucket, path = split_uri(name)
                    file = aside / bucket / path
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_file(file, _chunks(rows, job), snapshot.fields, options)
                counts.append(str(len(shards)))
            for bucket_folder in sorted(aside.iterdir()):
                self.objects.copy_tree(bucket_folder, f"gs://{bucket_folder.name}")
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        job.statistics["extract"] = {
            "destinationUriFileCounts": counts,
            "inputBytes": str(table.nbytes),
        }
        job.statistics["totalBytesProcessed"] = str(table.nbytes)

    def _check(self, uri: str) -> None:
        """Raises unless a file can be made of the URI."""
        if uri.count("*") > 1:
            raise Invalid(f"Invalid destination URI {uri}: it may have one wildcard")
        bucket, name = split_uri(uri)
        if not name or any(part in ("", ".", "..") for part in name.split("/")):
            raise Invalid(f"Invalid destination URI {uri}: name an object, gs://{bucket}/NAME")
        self.objects.path(f"gs://{bucket}")


def _options(configuration: dict[str, Any]) -> ExtractOptions:
    kind = str(configuration.setdefault("destinationFormat", "CSV")).upper()
    if kind not in COMPRESSIONS:
        raise Refused(f"destinationFormat {kind} is not carried over to the local BigQuery")
    compression = str(configuration.get("compression") or "NONE").upper()
    if compression not in COMPRESSIONS[kind]:
        raise Invalid(f"Compression {compression} is not possible with {kind}: {', '.join(COMPRESSIONS[kind])} are")
    delimiter = str(configuration.get("fieldDelimiter") or ",")
    delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter.lower(), delimiter)
    if len(delimiter) != 1:
        raise Invalid(f"Invalid value for fieldDelimiter: {delimiter!r} must be one character")
    return ExtractOptions(
        format=kind,
        compression=compression,
        field_delimiter=delimiter,
        print_header=configuration.get("printHeader") is not False,
        use_avro_logical_types=bool(configuration.get("useAvroLogicalTypes")),
    )


def _shards(uri: str, table: pa.Table) -> list[tuple[str, pa.Table]]:
    """The files that a URI stands for with their rows: `*` becomes 000000000000 and on."""
    if "*" not in uri:
        if table.nbytes > _FILE_BYTES:
            raise Invalid(
                f"Table too large to be exported to a single file: it has {table.nbytes} bytes. "
                f"Specify a uri including a * to shard export: {uri}"
            )
        return [(uri, table)]
    number = max(1, -(-table.nbytes // _SHARD_BYTES))
    bounds = [table.num_rows * shard // number for shard in range(number + 1)]
    return [
        (uri.replace("*", f"{shard:012d}"), table.slice(bounds[shard], bounds[shard + 1] - bounds[shard]))
        for shard in range(number)
    ]


def _chunks(table: pa.Table, job: Job) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, _CHUNK_ROWS):
        job.cancellation.check()
        yield table.slice(start, _CHUNK_ROWS)
