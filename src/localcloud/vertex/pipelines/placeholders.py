"""Placeholders in commands, arguments, variables and constants: `{{$.inputs.parameters['x']}}` and the like.

Which there are: https://www.kubeflow.org/docs/components/pipelines/reference/component-spec/ and kfp.dsl's
placeholders; what Vertex AI adds is its job's project and location.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from localcloud.vertex.pipelines.values import as_text

_PLACEHOLDER = re.compile(r"\{\{\$((?:\.[^{}]*?)?)\}\}")
_WHOLE_ESCAPED = re.compile(r"\.json_escape\[(\d+)\]")
_STEP = re.compile(r"\.(?P<name>\w+)|\[\s*(?:'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\"|(?P<index>\d+))\s*\]")


class UnknownPlaceholder(Exception):
    """A placeholder that names nothing; the text says which."""


class Resolver:
    """Replaces placeholders by what they stand for in one task.

    Args:
        executor_input: The ExecutorInput as JSON has it: inputs (parameterValues, artifacts) and outputs.
        names: The placeholders without a path: `pipeline_job_name` and so on.
    """

    def __init__(self, executor_input: Mapping[str, Any], names: Mapping[str, str]) -> None:
        self._input = executor_input
        self._names = names
        self._whole: str | None = None
        self._inner = False

    def text(self, text: str) -> str:
        """A text with all its placeholders replaced; what only looks like one stays.

        Raises:
            UnknownPlaceholder: One of them names nothing.
        """
        if "{{$" not in text:
            return text
        return _PLACEHOLDER.sub(lambda found: self._value(found.group(1)), text)

    def value(self, value: Any) -> Any:
        """The same for all texts in a JSON value, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        return value

    def words(self, words: Iterable[str]) -> list[str]:
        """A command or argument list: `Concat` and `IfPresent` resolved first, then the placeholders.

        Raises:
            UnknownPlaceholder: One of them names nothing.
        """
        found: list[str] = []
        for word in words:
            for part in self._structured(word):
                found.append(self.text(part))
        return found

    def _structured(self, word: str) -> list[str]:
        if not word.lstrip().startswith(('{"Concat"', '{"IfPresent"')):
            return [word]
        try:
            structure = json.loads(word)
        except ValueError:
            return [word]
        return self._flat(structure)

    def _flat(self, structure: Any) -> list[str]:
        if structure is None:
            return []
        if isinstance(structure, str):
            return [structure]
        if isinstance(structure, list):
            return [part for item in structure for part in self._flat(item)]
        if isinstance(structure, dict) and "Concat" in structure:
            return ["".join(part for item in structure["Concat"] for part in self._flat(item))]
        if isinstance(structure, dict) and "IfPresent" in structure:
            choice = structure["IfPresent"]
            return self._flat(choice.get("Then") if self._present(choice.get("InputName", "")) else choice.get("Else"))
        raise UnknownPlaceholder(f"`{json.dumps(structure)}` is neither text nor Concat nor IfPresent")

    def _present(self, name: str) -> bool:
        inputs = self._input.get("inputs", {})
        return inputs.get("parameterValues", {}).get(name) is not None or name in inputs.get("artifacts", {})

    def _value(self, path: str) -> str:
        if not path:
            if self._whole is None:
                self._whole = json.dumps(self._input)
            return self._whole
        escaped = _WHOLE_ESCAPED.fullmatch(path)
        if escaped is not None:
            return _escaped(self._value(""), int(escaped.group(1)))
        name = path[1:]
        if name in self._names:
            return self._names[name]
        if name in ("outputs.output_file", "outputMetadataUri", "output_metadata_uri"):
            return str(self._input["outputs"]["outputFile"])
        steps = _steps(path)
        if steps is None or len(steps) < 3 or steps[0] not in ("inputs", "outputs"):
            return f"{{{{${path}}}}}"  # not ours: a template in the user's own code, say
        if steps[:2] == ["inputs", "artifacts"] and steps[3:4] == ["metadata"] and not self._has_metadata(*steps[2:]):
            return f"{{{{${path}}}}}"  # as on Vertex AI: components look whether it is still there
        try:
            return self._at(*steps)
        except (KeyError, IndexError, TypeError):
            raise UnknownPlaceholder(f"the placeholder {{{{${path}}}}} names nothing that this task has") from None

    def _nested(self, value: str) -> str:
        """A parameter whose value has placeholders itself, as a prebuilt component's defaults do; once, no deeper."""
        if "{{$" not in value or self._inner:
            return value
        self._inner = True
        try:
            return _PLACEHOLDER.sub(lambda found: self._known(found.group()), value)
        finally:
            self._inner = False

    def _known(self, placeholder: str) -> str:
        try:
            return self.text(placeholder)
        except UnknownPlaceholder:
            return placeholder  # part of the user's own data

    def _has_metadata(self, name: str, _: str, key: str = "", *rest: str) -> bool:
        """Whether an input artifact has what a placeholder wants of its metadata; true for one that was not given."""
        found = self._input["inputs"].get("artifacts", {}).get(name, {}).get("artifacts")
        return not found or not key or key in found[0].get("metadata", {})

    def _at(self, side: str, kind: str, name: str, *rest: str) -> str:
        if (side, kind) == ("inputs", "parameters"):
            value = as_text(self._input["inputs"].get("parameterValues", {}).get(name))
            if rest[:1] == ("json_escape",):
                return _escaped(value, int(rest[1]))
            return self._nested(value)
        if (side, kind) == ("outputs", "parameters"):
            return str(self._input["outputs"]["parameters"][name]["outputFile"])
        if kind != "artifacts":
            raise KeyError(kind)
        if side == "inputs" and name not in self._input["inputs"].get("artifacts", {}):
            return ""  # an optional artifact that was not given
        artifacts = self._input[side]["artifacts"][name]["artifacts"]
        if not rest:
            return json.dumps(artifacts)
        artifact = artifacts[0]
        if rest[0] == "uri":
            return str(artifact["uri"])
        if rest[0] == "path":
            return mounted(artifact["uri"])
        if rest[0] == "metadata":
            metadata = artifact.get("metadata", {})
            return as_text(metadata[rest[1]] if len(rest) > 1 else metadata)
        return as_text(artifact[rest[0]])


def with_names(value: Any, names: Mapping[str, str]) -> Any:
    """A value of a parameter with the placeholders without a path replaced; all others stay.

    Args:
        value: As JSON has it.
        names: What they stand for.
    """
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda found: names.get(found.group(1)[1:], found.group()), value)
    if isinstance(value, list):
        return [with_names(item, names) for item in value]
    if isinstance(value, dict):
        return {key: with_names(item, names) for key, item in value.items()}
    return value


def mounted(uri: str) -> str:
    """Where a container finds a URI: `gs://bucket/x` as `/gcs/bucket/x`, others as they are."""
    return f"/gcs/{uri.removeprefix('gs://')}" if uri.startswith("gs://") else uri


def _steps(path: str) -> list[str] | None:
    """`.inputs.parameters['x']` as [inputs, parameters, x]; None where it is no path."""
    found, at = [], 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return None
        found.append(next(group for group in step.groups() if group is not None))
        at = step.end()
    return found


def _escaped(text: str, levels: int) -> str:
    """Escaped to stand inside a JSON string, as many times."""
    for _ in range(levels or 1):
        text = json.dumps(text)[1:-1]
    return text
