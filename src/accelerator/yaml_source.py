"""A YAML file of the user's and the line and column of everything in it, for errors that point there.

What the file should say is not known here: that is accelerator.config.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from accelerator.errors import ConfigError, Place


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 2013-07-04 stays the text that was written."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class YamlSource:
    """One parsed file: `values` as plain Python, `place` for where each of them stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(
                f"There is no {path.name} here", place=str(path), next_step="Make one with `mlops init DIR`."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path.name} cannot be read: {error}", place=str(path)) from None
        self.values: dict[str, Any] = self._parse(text)

    def _parse(self, text: str) -> dict[str, Any]:
        loader = _Loader(text)
        try:
            self._root = loader.get_single_node()
            if self._root is None:
                return {}
            if not isinstance(self._root, yaml.MappingNode):
                raise ConfigError(
                    f"{self.path.name} holds no sections",
                    place=self._at(self._root.start_mark),
                    next_step="Write `data:`, `model:` … at the left margin.",
                )
            self._refuse_twice(self._root, set())
            values: dict[str, Any] = loader.construct_document(self._root)
            return values
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise ConfigError(
                f"{self.path.name} is not YAML: {error.problem or error.context}",
                place=self._at(mark),
                next_step="Look at the indentation, colons and quotes there and just above.",
            ) from None
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"{self.path.name} is not YAML: {error}", place=str(self.path)) from None
        finally:
            loader.dispose()

    def place(self, location: Sequence[str | int], *, key: bool = False) -> Place:
        """Where `("data", "label")` stands: its value or, with `key`, its name; if absent, its section."""
        node: yaml.Node | None = self._root
        mark = node.start_mark if node is not None else None
        for depth, step in enumerate(location):
            found = _child(node, step)
            if found is None:
                break
            name, node = found
            last = depth == len(location) - 1
            mark = (name if last and key and name is not None else node).start_mark
            if not last and name is not None and _child(node, location[depth + 1]) is None:
                mark = name.start_mark
        return self._at(mark)

    def _at(self, mark: Any) -> Place:
        if mark is None:
            return Place(str(self.path))
        return Place(str(self.path), mark.line + 1, mark.column + 1)

    def _refuse_twice(self, node: yaml.Node, seen_nodes: set[int]) -> None:
        if id(node) in seen_nodes:  # an alias: already looked at
            return
        seen_nodes.add(id(node))
        if isinstance(node, yaml.MappingNode):
            seen: dict[Any, Any] = {}
            for name, value in node.value:
                if name.value in seen:
                    raise ConfigError(
                        f"'{name.value}' is written twice",
                        place=self._at(name.start_mark),
                        next_step=f"Keep one of them; the first is on line {seen[name.value].line + 1}.",
                    )
                seen[name.value] = name.start_mark
                self._refuse_twice(value, seen_nodes)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                self._refuse_twice(value, seen_nodes)


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((name, value) for name, value in node.value if name.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None
