"""What there is to see of an artifact: figures, a ROC curve, a confusion matrix, a text, or a page of its own.

Metrics are in an artifact's metadata, as KFP's artifact classes and Google's components put them there
(https://www.kubeflow.org/docs/components/pipelines/user-guides/data-handling/artifacts/); everything else is read from
its URI. Markdown is rendered with its HTML as text; HTML is never part of a page of the console, see console.app.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from markupsafe import Markup

from localcloud.console.reader import Reader
from localcloud.console.values import plain, size
from localcloud.errors import CloudError

HTML_LIMIT = 50_000_000
"""Bytes of a HTML artifact that is shown."""
_MARKDOWN_LIMIT = 500_000
_TEXT_LIMIT = 4_000
_FILES = 50
_LARGEST_MATRIX = 40
_SIDE = 220
"""The side of a ROC curve's square in pixels."""


@dataclass(frozen=True)
class Curve:
    """A ROC curve.

    Args:
        path: Its line in a square of `side` pixels, from the lower left.
        area: The area under it.
    """

    path: str
    area: float
    side: int = _SIDE


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: true classes down, predicted classes across.

    Args:
        names: The classes.
        rows: Each a list of (count, its share of the row from 0 to 1).
    """

    names: list[str]
    rows: list[list[tuple[Any, float]]]


@dataclass(frozen=True)
class View:
    """What is shown of one artifact; what is empty is not."""

    metadata: dict[str, Any] = field(default_factory=dict)
    """What is not shown in another form."""
    figures: dict[str, Any] = field(default_factory=dict)
    curve: Curve | None = None
    matrix: Matrix | None = None
    markdown: str = ""
    """HTML that is safe to be shown: a Markup."""
    frame: bool = False
    """Whether it is HTML, which its own address shows."""
    text: str = ""
    files: list[str] = field(default_factory=list)
    note: str = ""


def view(artifact: Any, reader: Reader) -> View:
    """What there is to see of an aiplatform.v1.Artifact."""
    kind = artifact.schema_title.rpartition(".")[2]
    metadata: dict[str, Any] = plain(artifact.metadata)
    if kind.endswith("Metrics"):
        return _metrics(metadata)
    if not artifact.uri.startswith("gs://"):
        return View(metadata)
    try:
        content, length = reader.content(artifact.uri, _MARKDOWN_LIMIT if kind == "Markdown" else _TEXT_LIMIT)
    except CloudError:
        files = reader.files(artifact.uri, _FILES)
        return View(metadata, files=files, note="" if files else "There is no object at its URI.")
    if kind == "HTML":
        return View(metadata, frame=length <= HTML_LIMIT, note=size(length))
    if b"\0" in content:
        return View(metadata, note=size(length))
    text = content.decode(errors="replace")
    more = f"{size(length)}, of which this is the beginning" if length > len(content) else size(length)
    if kind == "Markdown":
        return View(metadata, markdown=rendered(text), note=more)
    # a text that is cut in the middle of a character is one all the same
    if text.rstrip("\ufffd").count("\ufffd"):
        return View(metadata, note=size(length))
    return View(metadata, text=text.rstrip("\ufffd"), note=more)


def rendered(text: str) -> Markup:
    """Markdown as HTML: HTML in it is text, and links go to the web and to mail alone."""
    return Markup(_markdown().render(text))


@cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _metrics(metadata: dict[str, Any]) -> View:
    rest = dict(metadata)
    curve = _curve(rest.get("confidenceMetrics"))
    if curve is not None:
        del rest["confidenceMetrics"]
    matrix = _matrix(rest.get("confusionMatrix"))
    if matrix is not None:
        del rest["confusionMatrix"]
    figures = {name: rest.pop(name) for name in list(rest) if isinstance(rest[name], int | float | str)}
    return View(rest, figures, curve, matrix)


def _curve(points: Any) -> Curve | None:
    if not isinstance(points, list):
        return None
    found = set()
    for point in points:
        if isinstance(point, dict):
            rates = (point.get("falsePositiveRate", 0.0), point.get("recall", 0.0))
            if all(isinstance(rate, int | float) and math.isfinite(rate) and 0 <= rate <= 1 for rate in rates):
                found.add(rates)
    if not found:
        return None
    ordered = sorted(found | {(0.0, 0.0), (1.0, 1.0)})
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in itertools.pairwise(ordered))
    path = "M" + " L".join(f"{x * _SIDE:.1f} {(1 - y) * _SIDE:.1f}" for x, y in ordered)
    return Curve(path, area)


def _matrix(given: Any) -> Matrix | None:
    if not isinstance(given, Mapping):
        return None
    specs, lines = given.get("annotationSpecs"), given.get("rows")
    if not isinstance(specs, list) or not isinstance(lines, list):
        return None
    names = [str(spec.get("displayName", "")) for spec in specs if isinstance(spec, Mapping)]
    rows: list[Any] = [line.get("row") if isinstance(line, Mapping) else line for line in lines]
    square = all(isinstance(row, list) and len(row) == len(names) for row in rows) and len(rows) == len(names)
    if not names or not square or len(names) > _LARGEST_MATRIX:
        return None
    if not all(isinstance(count, int | float) for row in rows for count in row):
        return None
    shares = [[(count, count / sum(row) if sum(row) > 0 else 0.0) for count in row] for row in rows]
    return Matrix(names, shares)
