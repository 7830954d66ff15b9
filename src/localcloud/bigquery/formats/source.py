"""What every file format of a load job shares: the files, the options, and the count of bad records.

Which files a job reads is `jobs/load.py`'s to say; what they hold that of the modules beside this one.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from localcloud.bigquery.failures import Invalid

CHUNK_ROWS = 50_000
"""Rows that are decoded at a time."""


@dataclass(frozen=True)
class Source:
    """A file to be loaded.

    Args:
        label: What errors call it: its gs:// URI, or the upload.
        path: Where it lies.
    """

    label: str
    path: Path

    @property
    def compressed(self) -> bool:
        """Whether it is gzip, by its first bytes."""
        with self.path.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"

    def open(self) -> IO[bytes]:
        """The bytes, decompressed where they are gzip."""
        return cast("IO[bytes]", gzip.open(self.path)) if self.compressed else self.path.open("rb")


@dataclass(frozen=True)
class LoadOptions:
    """JobConfigurationLoad as the readers use it; field names are Google's in snake_case."""

    skip_leading_rows: int | None = None
    field_delimiter: str = ","
    quote: str = '"'
    allow_quoted_newlines: bool = False
    allow_jagged_rows: bool = False
    ignore_unknown_values: bool = False
    null_markers: tuple[str, ...] = ("",)
    encoding: str = "UTF-8"
    use_avro_logical_types: bool = False
    enable_list_inference: bool = False
    enum_as_string: bool = False

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> LoadOptions:
        """From the REST configuration.

        Raises:
            Invalid: A delimiter or quote that is not one character, or an encoding BigQuery does not have.
        """
        delimiter = str(configuration.get("fieldDelimiter") or ",")
        delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter.lower(), delimiter)
        quote = '"' if configuration.get("quote") is None else str(configuration["quote"])
        if len(delimiter) != 1:
            raise Invalid(f"Invalid value for fieldDelimiter: {delimiter!r} must be one character")
        if len(quote) > 1:
            raise Invalid(f"Invalid value for quote: {quote!r} must be one character or none")
        encoding = str(configuration.get("encoding") or "UTF-8").upper()
        known = ("UTF-8", "ISO-8859-1", "UTF-16BE", "UTF-16LE", "UTF-32BE", "UTF-32LE")
        if encoding not in known:
            raise Invalid(f"Invalid value for encoding: {encoding} is none of {', '.join(known)}")
        skip = configuration.get("skipLeadingRows")
        markers = configuration.get("nullMarkers") or [configuration.get("nullMarker") or ""]
        parquet = configuration.get("parquetOptions") or {}
        return cls(
            skip_leading_rows=None if skip is None else int(skip),
            field_delimiter=delimiter,
            quote=quote,
            allow_quoted_newlines=bool(configuration.get("allowQuotedNewlines")),
            allow_jagged_rows=bool(configuration.get("allowJaggedRows")),
            ignore_unknown_values=bool(configuration.get("ignoreUnknownValues")),
            null_markers=tuple(markers),
            encoding=encoding,
            use_avro_logical_types=bool(configuration.get("useAvroLogicalTypes")),
            enable_list_inference=bool(parquet.get("enableListInference")),
            enum_as_string=bool(parquet.get("enumAsString")),
        )


@dataclass
class BadRecords:
    """Counts bad records and ends the load once there are more than allowed.

    Args:
        format: CSV, JSON …, for the message.
        allowed: maxBadRecords.
        check: Called with every chunk of rows; raises when the job was cancelled.
    """

    format: str
    allowed: int = 0
    check: Callable[[], None] = lambda: None
    count: int = 0
    rows: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)

    def add(self, source: Source, message: str) -> None:
        """Notes a bad record, with the place in the message; only the first hundred are kept word by word."""
        self.count += 1
        if len(self.errors) < 100:
            self.errors.append(
                {
                    "reason": "invalid",
                    "location": source.label,
                    "message": f"Error while reading data, error message: {message} File: {source.label}",
                }
            )

    def judge(self) -> None:
        """Raises once there are too many; called after each chunk, so that a message can name several."""
        if self.count > self.allowed:
            first = self.errors[0]["message"].removeprefix("Error while reading data, error message: ")
            raise Invalid(
                f"Error while reading data, error message: {self.format} table encountered too many errors, giving "
                f"up. Rows: {self.rows}; errors: {self.count}; maxBadRecords: {self.allowed}. The first: {first}. "
                "All of them are in the errors[] collection.",
                location=self.errors[0]["location"],
            )


def unreadable(source: Source, what: str, error: object) -> Invalid:
    """The error for a file that is not of its format at all."""
    return Invalid(
        f"Error while reading data, error message: {what}: {error} File: {source.label}", location=source.label
    )
