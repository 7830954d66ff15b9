"""Names of the Storage API: tables, read streams that say themselves what they read, and write streams.

The forms are those of google.cloud.bigquery.storage.v1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from localcloud.bigquery.refs import TableRef
from localcloud.catalog import Package
from localcloud.errors import InvalidArgument

storage = Package("google.cloud.bigquery.storage.v1")

_TABLE = re.compile(r"projects/([^/]+)/datasets/([^/]+)/tables/([^/]+)")
_STREAM = re.compile(
    r"(projects/[^/]+/locations/[^/]+/sessions/[^/]+)/streams/(\w+)-(\d+)-(\d+)-(arrow|avro)-(none|lz4|zstd)"
)
_WRITE = re.compile(r"(projects/[^/]+/datasets/[^/]+/tables/[^/]+)/(?:streams/)?([\w\-]+)")


def table_of(name: str, field: str) -> TableRef:
    """The table of `projects/P/datasets/D/tables/T`.

    Raises:
        InvalidArgument: It is none.
    """
    match = _TABLE.fullmatch(name)
    if match is None:
        raise InvalidArgument(f"Invalid {field}: '{name}'. It must be projects/P/datasets/D/tables/T.")
    return TableRef(*match.groups())


def table_name(ref: TableRef) -> str:
    """The table as the Storage API names it."""
    return f"projects/{ref.project}/datasets/{ref.dataset}/tables/{ref.table}"


@dataclass(frozen=True)
class ReadStreamName:
    """A stream of a read session: rows `start` to `end` of a snapshot, in a format.

    The name holds all that is needed to read, so streams outlive a restart of the server.
    """

    session: str
    snapshot: str
    start: int
    end: int
    format: str
    codec: str

    @classmethod
    def parse(cls, name: str) -> ReadStreamName:
        """From the name.

        Raises:
            InvalidArgument: It is no name of a stream.
        """
        match = _STREAM.fullmatch(name)
        if match is None:
            raise InvalidArgument(f"Invalid read stream: '{name}'. Use a name from CreateReadSession.")
        return cls(match[1], match[2], int(match[3]), int(match[4]), match[5], match[6])

    def part(self, start: int, end: int) -> ReadStreamName:
        """A part of it."""
        return ReadStreamName(self.session, self.snapshot, start, end, self.format, self.codec)

    @property
    def message(self) -> Any:
        """The ReadStream."""
        return storage.ReadStream(name=str(self))

    def __str__(self) -> str:
        place = f"{self.snapshot}-{self.start}-{self.end}-{self.format}-{self.codec}"
        return f"{self.session}/streams/{place}"


def write_stream_of(name: str) -> tuple[TableRef, str]:
    """The table and the id of a write stream; the default stream's id is `_default`.

    Raises:
        InvalidArgument: It is no name of a stream.
    """
    match = _WRITE.fullmatch(name)
    if match is None:
        raise InvalidArgument(
            f"Invalid write_stream: '{name}'. It must be projects/P/datasets/D/tables/T/streams/S, or .../_default."
        )
    return table_of(match[1], "write_stream"), match[2]
