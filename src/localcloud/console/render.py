"""Pages from templates: everything that goes into one is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from localcloud.console import urls, values
from localcloud.console.drawing import Drawing
from localcloud.console.lists import KINDS
from localcloud.console.reader import Reader
from localcloud.console.tree import SIGNS

HERE = Path(__file__).parent
_LONGEST = 100_000
"""Characters of one value on a page."""


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "css": lambda word: word.replace(" ", "-"),
        "cut": _cut,
        "duration": values.duration,
        "figure": _figure,
        "last": values.last_of,
        "moment": values.moment,
        "plain": values.plain,
        "size": values.size,
        "text": values.text_of,
    }
    environment.globals |= {"kinds": KINDS, "list_url": urls.list_url, "runs_url": urls.runs_url, "signs": SIGNS}
    return environment


class Pages:
    """The templates of the console.

    Args:
        reader: Knows the projects' ids.
    """

    def __init__(self, reader: Reader) -> None:
        self._environment = _environment()
        self._environment.globals |= {
            "content_url": lambda name: urls.content_url(reader.project_of(name), name),
            "job_url": lambda name: urls.job_url(reader.project_of(name), name),
            "node_url": lambda name: urls.node_url(reader.project_of(name), name),
        }

    def __call__(self, template: str, content: Mapping[str, Any]) -> str:
        """A page.

        Args:
            template: A file's name in the folder of templates.
            content: What it shows. `project` is there always, `refresh` where the page goes on changing.
        """
        return self._environment.get_template(template).render({"project": "", "refresh": False, **content})

    @staticmethod
    def svg(picture: Drawing) -> str:
        """A drawing as a file of its own, with its style in it and no links."""
        module: Any = _environment().get_template("drawing.html").module
        lines = str(module.svg(picture, None, (HERE / "static" / "drawing.css").read_text())).splitlines()
        return "".join(f"{line}\n" for line in lines if line.strip())


def _cut(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _figure(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
