"""The instances in JSON Lines and CSV files of Cloud Storage; wildcards are expanded, lines that are none set aside.

CSV is as Vertex AI has it: a header, quoted cells are strings, others numbers, no line ends in cells.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator
from fnmatch import translate
from pathlib import Path
from typing import Any

import orjson

from localcloud.errors import CloudError, Code
from localcloud.objects import Objects
from localcloud.vertex.batch.blocks import LEAST_ROWS, MOST_BYTES, Block, Failure, SourceProblem
from localcloud.vertex.batch.plan import Plan

_CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^,"]*))(,|$)')


def objects_of(objects: Objects, sources: tuple[str, ...]) -> list[tuple[str, Path]]:
    """The objects that URIs name, each once: their URIs and files.

    Raises:
        SourceProblem: A URI names none.
    """
    found: dict[str, Path] = {}
    for uri in sources:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        prefix = re.split(r"[*?\[]", name)[0]
        pattern = re.compile(translate(uri))
        try:
            if prefix == name:
                matching = [uri] if objects.exists(uri) else []
            else:
                matching = [one for one in objects.list(f"gs://{bucket}/{prefix}") if pattern.fullmatch(one)]
            matching = [one for one in matching if not one.endswith("/")]
            found.update((one, objects.path(one)) for one in matching)
        except CloudError as error:
            raise SourceProblem(error.code.number, f"input_config.gcs_source.uris: {error.message}") from None
        if not matching:
            raise SourceProblem(Code.NOT_FOUND.number, f"input_config.gcs_source.uris: no object matches {uri}.")
    return list(found.items())


def _chunks(files: list[tuple[str, Path]], batch_size: int) -> Iterator[tuple[str, bytes, int, list[bytes]]]:
    """Some thousand lines at a time: (the file's URI, its first line, the number of these lines' first, lines)."""
    most = max(LEAST_ROWS // batch_size, 1) * batch_size
    for uri, path in files:
        with path.open("rb") as file:
            first, lines, size, number = b"", [], 0, 0
            for number, line in enumerate(file, 1):
                if number == 1:
                    first = line
                lines.append(line.rstrip(b"\r\n"))
                size += len(line)
                if len(lines) >= most or size >= MOST_BYTES:
                    yield uri, first, number - len(lines) + 1, lines
                    lines, size = [], 0
            if lines:
                yield uri, first, number - len(lines) + 1, lines


class JsonLines:
    """Instances in JSON, one a line.

    Args:
        plan: The job.
        objects: Cloud Storage.
    """

    total: int | None = None

    def __init__(self, plan: Plan, objects: Objects) -> None:
        self._plan = plan
        self._files = objects_of(objects, plan.sources)
        self._by_field = bool(plan.included or plan.excluded or plan.key_field or plan.instance_type == "object")

    def blocks(self) -> Iterator[Block]:
        """The lines, in the order of the URIs."""
        plan = self._plan
        for uri, _, number, lines in _chunks(self._files, plan.batch_size):
            block = Block([], plan.included, [] if plan.key_field else None, [] if self._attaches else None)
            for offset, line in enumerate(lines):
                if not line.strip():
                    continue
                try:
                    self._add(block, orjson.loads(line))
                except (orjson.JSONDecodeError, _Unfit) as error:
                    message = f"{uri}, line {number + offset}: {error}"
                    shown = line[:10_000].decode(errors="replace")
                    block.unread.append((shown, Failure(Code.INVALID_ARGUMENT.number, message)))
            yield block

    @property
    def _attaches(self) -> bool:
        return bool(self._plan.excluded) and not self._plan.key_field

    def _add(self, block: Block, value: Any) -> None:
        plan = self._plan
        if not isinstance(value, dict):
            if self._by_field:
                raise _Unfit("instance_config asks for fields, but the line is no object")
            block.instances.append(value)
            return
        key = None
        if plan.key_field:
            if plan.key_field not in value:
                raise _Unfit(f"the key field `{plan.key_field}` is missing")
            key = value.pop(plan.key_field)
        attached = {name: value.pop(name) for name in plan.excluded if name in value}
        if plan.included:
            missing = [name for name in plan.included if name not in value]
            if missing:
                raise _Unfit(f"the included field `{missing[0]}` is missing")
            value = {name: value[name] for name in plan.included}
        if plan.instance_type == "array":
            if not plan.included:
                raise _Unfit("instance_config.included_fields must give the order of an object's fields in an array")
            value = list(value.values())
        block.instances.append(value)
        if block.keys is not None:
            block.keys.append(key)
        if block.attached is not None:
            block.attached.append(attached)


class CsvFiles:
    """Instances in CSV: arrays in the order of the header.

    Args:
        plan: The job.
        objects: Cloud Storage.
    """

    total: int | None = None

    def __init__(self, plan: Plan, objects: Objects) -> None:
        self._plan = plan
        self._files = objects_of(objects, plan.sources)

    def blocks(self) -> Iterator[Block]:
        """The rows, in the order of the URIs."""
        key_field = self._plan.key_field
        for uri, first, number, lines in _chunks(self._files, self._plan.batch_size):
            header = next(csv.reader([first.decode("utf-8-sig", errors="replace")]))
            if key_field and key_field not in header:
                raise SourceProblem(
                    Code.INVALID_ARGUMENT.number,
                    f"instance_config.key_field: {uri} has no column `{key_field}`; it has {', '.join(header)}.",
                )
            key = header.index(key_field) if key_field else None
            names = tuple(name for name in header if name != key_field)
            block = Block([], names, None if key is None else [])
            for offset, line in enumerate(lines):
                if number + offset == 1 or not line.strip():
                    continue
                text = line.decode(errors="replace")
                try:
                    row = cells(text)
                    if len(row) != len(header):
                        raise _Unfit(f"{len(row)} cells, but the header has {len(header)}")
                except _Unfit as error:
                    message = f"{uri}, line {number + offset}: {error}"
                    block.unread.append((text[:10_000], Failure(Code.INVALID_ARGUMENT.number, message)))
                    continue
                if key is not None and block.keys is not None:
                    block.keys.append(row.pop(key))
                block.instances.append(row)
            yield block


def cells(line: str) -> list[Any]:
    """A CSV line's cells: what is quoted is a string, what is not a number, nothing at all null."""
    # an empty cell, which csv cannot tell from a quoted empty one, and every fault are found further down
    if ",," not in line and not line.startswith(",") and not line.endswith(","):
        with contextlib.suppress(ValueError, csv.Error):
            return next(csv.reader([line], quoting=csv.QUOTE_NONNUMERIC, strict=True))
    found: list[Any] = []
    position = 0
    while True:
        match = _CELL.match(line, position)
        if match is None:
            raise _Unfit(f"cell {len(found) + 1} is quoted badly")
        quoted, plain, end = match.groups()
        if quoted is not None:
            found.append(quoted.replace('""', '"'))
        elif not plain:
            found.append(None)
        else:
            try:
                found.append(float(plain))
            except ValueError:
                raise _Unfit(f"cell {len(found) + 1} is `{plain[:40]}`: quote what is no number") from None
        if not end:
            return found
        position = match.end()


class _Unfit(Exception):
    """A line that is no instance."""
