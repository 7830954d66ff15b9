"""Predictions into JSON Lines or CSV files of Cloud Storage, and failed rows into files of their own.

They are written aside and brought to the bucket at the end: their names, `prediction.results-00000-of-00002`, say how
many there are.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import IO, Any

import orjson

from localcloud.errors import CloudError
from localcloud.objects import Objects, split_uri
from localcloud.vertex.batch.blocks import UNASKED, Block, Failure, SourceProblem, text
from localcloud.vertex.batch.plan import Plan

SHARD = 128 * 2**20
"""Bytes after which a further file is begun."""


class FileSink:
    """The folder of a job's output.

    Args:
        plan: The job.
        objects: Cloud Storage.

    Raises:
        SourceProblem: The bucket does not exist.
    """

    def __init__(self, plan: Plan, objects: Objects) -> None:
        self._plan = plan
        self._objects = objects
        self._folder = Path(plan.scratch)
        try:
            self._bucket, self._prefix = split_uri(plan.destination)
            objects.folder(self._bucket)
        except CloudError as error:
            message = f"output_config.gcs_destination.output_uri_prefix: {error.message}"
            raise SourceProblem(error.code.number, message) from None
        kind = _Csv if plan.predictions_format == "csv" else _Lines
        extension = ".csv" if plan.predictions_format == "csv" else ""
        self._results = _Shards(self._folder, "prediction.results", extension, kind)
        self._errors = _Shards(self._folder, "prediction.errors_stats", extension, kind)

    def write(self, block: Block, results: list[Any]) -> None:
        """Append a block's rows."""
        good, bad = [], []
        for index, result in enumerate(results):
            if type(result) is Failure:
                bad.append({**block.head(index), "error": result._asdict()})
            elif result is not UNASKED:
                good.append({**block.head(index), "prediction": result})
        bad.extend(({"instance": row, "error": failure._asdict()}) for row, failure in block.unread)
        self._results.write(good, block.names)
        self._errors.write(bad, block.names)

    def close(self) -> None:
        """Bring the files to the bucket."""
        folder = self._objects.folder(self._bucket)
        for shards in (self._results, self._errors):
            for name, path in shards.finish():
                folder.put(str(path), f"{self._prefix}/{name}")
        shutil.rmtree(self._folder, ignore_errors=True)


class _Lines:
    """JSON Lines."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, rows: list[dict[str, Any]], names: tuple[str, ...]) -> None:
        self._file.write(b"".join([orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows]))


class _Csv:
    """CSV: a column for each field of an instance, then the prediction; what is no plain value is JSON."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._header: list[str] | None = None

    def write(self, rows: list[dict[str, Any]], names: tuple[str, ...]) -> None:
        flat = [_flat(row, names) for row in rows]
        lines = _Collected()
        writer = csv.writer(lines, lineterminator="\n")
        if self._header is None and flat:
            self._header = list(flat[0])
            writer.writerow(self._header)
        for row in flat:
            writer.writerow([_cell(row.get(name)) for name in self._header or ()])
        self._file.write("".join(lines).encode())


class _Collected(list[str]):
    """What csv writes to."""

    write = list.append


class _Shards:
    """Files that follow each other, each of a bounded size."""

    def __init__(self, folder: Path, stem: str, extension: str, kind: type[_Lines] | type[_Csv]) -> None:
        self._folder, self._stem, self._extension, self._kind = folder, stem, extension, kind
        self._paths: list[Path] = []
        self._begin()

    def write(self, rows: list[dict[str, Any]], names: tuple[str, ...]) -> None:
        if not rows:
            return
        if self._file.tell() >= SHARD:
            self._file.close()
            self._begin()
        self._writer.write(rows, names)

    def finish(self) -> list[tuple[str, Path]]:
        """The names and the files."""
        self._file.close()
        count = len(self._paths)
        return [
            (f"{self._stem}-{index:05}-of-{count:05}{self._extension}", path) for index, path in enumerate(self._paths)
        ]

    def _begin(self) -> None:
        self._paths.append(self._folder / f"{self._stem}-{len(self._paths)}")
        self._file = self._paths[-1].open("wb")
        self._writer = self._kind(self._file)


def _flat(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The instance's fields beside each other, where they have names."""
    instance = row.get("instance")
    if isinstance(instance, dict):
        return {**instance, **{key: value for key, value in row.items() if key != "instance"}}
    if isinstance(instance, list | tuple) and len(instance) == len(names):
        fields = dict(zip(names, instance, strict=True))
        return {**fields, **{key: value for key, value in row.items() if key != "instance"}}
    return row


def _cell(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text(value)
