"""Load jobs: files from an upload or from gs:// into a table, all rows or none.

Files are read by `formats/`, rows stored by `tables.py`; dispositions are obeyed there.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from localcloud.bigquery.failures import Invalid, Missing, Refused
from localcloud.bigquery.formats import avro, columnar, csv, jsonl
from localcloud.bigquery.formats.source import BadRecords, LoadOptions, Source
from localcloud.bigquery.refs import TableRef
from localcloud.bigquery.tables import Tables
from localcloud.bigquery.types import FieldSchema, arrow_schema, normalize
from localcloud.errors import NotFound
from localcloud.objects import Objects

from .runner import Job

UPLOAD = "the uploaded file"

Detect = Callable[[Source, LoadOptions], list[FieldSchema]]
Read = Callable[[Source, Sequence[FieldSchema], LoadOptions, BadRecords], Iterator[pa.Table]]

_SELF_DESCRIBING: dict[str, tuple[Detect, Read]] = {
    "PARQUET": (columnar.detect_parquet, columnar.read_parquet),
    "ORC": (columnar.detect_orc, columnar.read_orc),
    "AVRO": (avro.detect, avro.read),
}
_NAMES = {"NEWLINE_DELIMITED_JSON": "JSON"}
_REFUSED = (
    "hivePartitioningOptions",
    "destinationEncryptionConfiguration",
    "projectionFields",
    "jsonExtension",
    "referenceFileSchemaUri",
    "fileSetSpecType",
    "timestampFormat",
    "dateFormat",
    "datetimeFormat",
    "timeFormat",
    "timeZone",
    "sourceColumnMatch",
)
_SHAPE = ("timePartitioning", "rangePartitioning", "clustering")


@dataclass
class LoadWork:
    """Runs load jobs.

    Args:
        tables: Where rows go.
        objects: Where gs:// files are.
    """

    tables: Tables
    objects: Objects

    def __call__(self, job: Job) -> None:
        """Runs the job and fills in `statistics.load`."""
        configuration = job.configuration
        for key in _REFUSED:
            if configuration.get(key):
                raise Refused(f"load.{key} is not carried over to the local BigQuery", location=key)
        if not configuration.get("destinationTable"):
            raise Invalid("Required parameter is missing: destinationTable")
        destination = TableRef.of(configuration["destinationTable"], job.ref.project)
        configuration.setdefault("sourceFormat", "CSV")
        configuration.setdefault("createDisposition", "CREATE_IF_NEEDED")
        configuration.setdefault("writeDisposition", "WRITE_APPEND")
        sources = self._sources(job)
        load = _Load(self.tables, configuration, destination, sources, job.cancellation.check)
        try:
            rows = load.run()
        finally:
            job.errors.extend(load.bad.errors)
        # what is next asked of a fresh table, by clients and queries alike, is its size: it is known from here on
        self.tables.size(destination.split()[0])
        if load.new_schema:
            configuration["schema"] = {"fields": load.fields}
        job.statistics["load"] = {
            "inputFiles": str(len(sources)),
            "inputFileBytes": str(sum(source.path.stat().st_size for source in sources)),
            "outputRows": str(rows),
            "outputBytes": str(load.bytes),
            "badRecords": str(load.bad.count),
        }

    def _sources(self, job: Job) -> list[Source]:
        uris = job.configuration.get("sourceUris") or []
        if job.upload is not None and not uris:
            return [Source(UPLOAD, job.upload)]
        if not uris:
            raise Invalid("No source URI was given and no file was uploaded: set load.sourceUris")
        sources = []
        for uri in uris:
            found = sorted(self._matching(uri))
            if not found:
                raise Missing(f"Not found: URI {uri}")
            sources += [Source(name, self.objects.path(name)) for name in found]
        return sources

    def _matching(self, uri: str) -> list[str]:
        if "*" not in uri:
            return [uri] if self.objects.exists(uri) else []
        try:
            return [name for name in self.objects.list(uri[: uri.index("*")]) if _matches(name, uri)]
        except NotFound as error:
            raise Missing(f"Not found: URI {uri}: {error.message}") from None


def _matches(name: str, pattern: str) -> bool:
    literal = re.sub(r"([\[?])", r"[\1]", pattern)  # of fnmatch's wildcards BigQuery has only the star
    return fnmatch.fnmatchcase(name, literal)


class _Load:
    """One load: which schema applies, and the rows in it."""

    def __init__(
        self,
        tables: Tables,
        configuration: dict[str, Any],
        destination: TableRef,
        sources: Sequence[Source],
        check: Callable[[], None],
    ) -> None:
        self._tables = tables
        self._configuration = configuration
        self._destination = destination
        self._sources = sources
        self._format = str(configuration["sourceFormat"]).upper()
        if self._format not in ("CSV", "NEWLINE_DELIMITED_JSON", *_SELF_DESCRIBING):
            raise Refused(f"sourceFormat {self._format} is not carried over to the local BigQuery")
        self._options = LoadOptions.of(configuration)
        self._autodetect = bool(configuration.get("autodetect"))
        self.bad = BadRecords(
            _NAMES.get(self._format, self._format), int(configuration.get("maxBadRecords") or 0), check
        )
        self.bytes = 0
        self.new_schema = False
        """Whether the schema is the files' or the job's rather than the table's."""
        self.fields = self._schema()

    def run(self) -> int:
        """Loads; returns how many rows were written."""
        configuration = self._configuration
        properties = configuration.get("destinationTableProperties") or {}
        resource: dict[str, Any] = {key: properties[key] for key in properties if properties[key]}
        resource |= {key: configuration[key] for key in _SHAPE if configuration.get(key)}
        if self.new_schema:
            resource["schema"] = {"fields": self.fields}
        problem: list[BaseException] = []
        try:
            return self._tables.append(
                self._destination,
                pa.RecordBatchReader.from_batches(self._arrow(), self._batches(problem)),
                write_disposition=configuration["writeDisposition"],
                create_disposition=configuration["createDisposition"],
                resource=resource,
                schema_update_options=configuration.get("schemaUpdateOptions") or (),
            )
        except Exception:
            # What a reader raises comes back from DuckDB as text: the error itself says more.
            if problem:
                raise problem[0] from None
            raise

    def _schema(self) -> list[FieldSchema]:
        """The schema of the rows: the job's own, the table's, or the files'."""
        given = (self._configuration.get("schema") or {}).get("fields")
        if given:
            self.new_schema = True
            return normalize(given)
        try:
            base, _ = self._destination.split()
            table = self._tables.get_table(base)
        except Missing:
            table = {}
        existing: list[FieldSchema] = (table.get("schema") or {}).get("fields") or []
        truncates = self._configuration["writeDisposition"] == "WRITE_TRUNCATE" and "$" not in str(self._destination)
        updates = bool(self._configuration.get("schemaUpdateOptions"))
        describes = self._format in _SELF_DESCRIBING
        if existing and not ((truncates or updates) and (describes or self._autodetect)):
            return existing
        if not describes and not self._autodetect:
            raise Invalid(
                f"Schema is required: table {self._destination} has none, load.schema is not set and "
                "load.autodetect is off. Set one of them."
            )
        self.new_schema = True
        return self._detected(existing)

    def _detected(self, existing: Sequence[FieldSchema]) -> list[FieldSchema]:
        detectors: dict[str, Detect] = {"CSV": csv.detect, "NEWLINE_DELIMITED_JSON": jsonl.detect}
        detect = detectors.get(self._format) or _SELF_DESCRIBING[self._format][0]
        fields = normalize(detect(self._sources[0], self._options))
        known = {f["name"].lower() for f in fields}
        if self._configuration["writeDisposition"] != "WRITE_TRUNCATE":
            # An update of the schema adds to what is there; existing columns keep their types.
            types = {f["name"].lower(): f for f in existing}
            fields = [types.get(f["name"].lower(), f) for f in fields]
            fields = [f for f in existing if f["name"].lower() not in known] + fields if existing else fields
        if not fields:
            raise Invalid(
                f"Failed to detect a schema: {self._sources[0].label} has no rows", location=self._sources[0].label
            )
        return fields

    def _arrow(self) -> pa.Schema:
        """The schema of the stream, nullable throughout: rows were checked, and columns may be missing."""
        return pa.schema([pa.field(f.name, f.type, metadata=f.metadata) for f in arrow_schema(self.fields)])

    def _batches(self, problem: list[BaseException]) -> Iterator[pa.RecordBatch]:
        schema = self._arrow()
        try:
            for source in self._sources:
                for table in self._tables_of(source):
                    self.bytes += table.nbytes
                    yield from _filled(table, schema).to_batches()
            self.bad.judge()
        except Exception as error:
            problem.append(error)
            raise

    def _tables_of(self, source: Source) -> Iterator[pa.Table]:
        if self._format == "CSV":
            skip = csv.leading_rows(source, self._options, autodetect=self._autodetect)
            return csv.read(source, self.fields, self._options, self.bad, skip)
        if self._format == "NEWLINE_DELIMITED_JSON":
            return jsonl.read(source, self.fields, self._options, self.bad)
        return _SELF_DESCRIBING[self._format][1](source, self.fields, self._options, self.bad)


def _filled(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the schema's columns, those it lacks being null."""
    columns = []
    for item in schema:
        position = table.schema.get_field_index(item.name)
        if position < 0:
            columns.append(pa.nulls(len(table), item.type))
        else:
            column = table.column(position)
            columns.append(column if column.type.equals(item.type) else column.cast(item.type))
    return pa.Table.from_arrays(columns, schema=schema)
