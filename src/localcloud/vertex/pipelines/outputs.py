"""What a container has produced: its executor_output.json, its parameters' files, its artifacts.

How they must look: https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto (ExecutorOutput).
"""

from __future__ import annotations

import json
from typing import Any

from localcloud.errors import CloudError, Code
from localcloud.vertex.common import id_of
from localcloud.vertex.pipelines.graph import TaskFailure, Values
from localcloud.vertex.pipelines.leaf import Leaf, schema_of
from localcloud.vertex.pipelines.values import WrongType, convert, parse, type_of


def read_outputs(leaf: Leaf, executor_input: dict[str, Any]) -> Values:
    """The outputs of a task whose container has ended well; its artifacts are stored.

    Args:
        leaf: The task.
        executor_input: What its container was given.

    Raises:
        TaskFailure: A parameter was not written, or as another type; executor_output.json is not what it must be.
    """
    written = _executor_output(leaf, executor_input["outputs"]["outputFile"])
    return Values(_parameters(leaf, executor_input, written), _artifacts(leaf, executor_input, written))


def _parameters(leaf: Leaf, executor_input: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    values = _object(leaf, written, "parameterValues")
    legacy = _object(leaf, written, "parameters")
    for name, definition in leaf.task.component.output_definitions.parameters.items():
        kind = type_of(definition)
        try:
            if name in values:
                found[name] = convert(values[name], kind)
            elif name in legacy:
                found[name] = convert(next(iter(legacy[name].values())), kind)
            else:
                text = _read(leaf, executor_input["outputs"]["parameters"][name]["outputFile"])
                if text is None:
                    raise _failure(leaf, f"it has not written its output parameter `{name}` ({kind})")
                found[name] = parse(text, kind)
        except WrongType as error:
            raise _failure(leaf, f"its output parameter `{name}` {error}") from None
    return found


def _artifacts(leaf: Leaf, executor_input: dict[str, Any], written: dict[str, Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    reported = _object(leaf, written, "artifacts")
    lineage = leaf.run.lineage
    for name, definition in leaf.task.component.output_definitions.artifacts.items():
        planned = executor_input["outputs"]["artifacts"][name]["artifacts"][0]
        entries = reported.get(name, {}).get("artifacts") or ([] if definition.is_artifact_list else [planned])
        schema = schema_of(definition.artifact_type)
        stored = []
        for number, entry in enumerate(entries):
            # The name that was planned for it; further ones of a list get their own.
            own = planned["name"] if number == 0 else lineage.artifact_name()
            uri = entry.get("uri") or planned["uri"]
            stored.append(lineage.artifact(own, name, schema, uri, entry.get("metadata") or {}))
        found[name] = stored
    return found


def _executor_output(leaf: Leaf, path: str) -> dict[str, Any]:
    text = _read(leaf, path)
    if text is None or not text.strip():
        return {}
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _failure(leaf, f"its {id_of(path)} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise _failure(leaf, f"its {id_of(path)} must hold a JSON object")
    return content


def _object(leaf: Leaf, written: dict[str, Any], field: str) -> dict[str, Any]:
    value = written.get(field) or {}
    if not isinstance(value, dict):
        raise _failure(leaf, f"the field `{field}` of its executor_output.json must be a JSON object")
    return value


def _read(leaf: Leaf, path: str) -> str | None:
    uri = "gs://" + path.removeprefix("/gcs/")
    try:
        return leaf.run.vertex.cloud.objects.read_bytes(uri).decode()
    except UnicodeDecodeError:
        raise _failure(leaf, f"what it has written to {uri} is not UTF-8") from None
    except CloudError as error:
        if error.code is Code.NOT_FOUND:
            return None
        raise


def _failure(leaf: Leaf, problem: str) -> TaskFailure:
    return TaskFailure(Code.FAILED_PRECONDITION, f"Task `{leaf.task.unique_name}`: {problem}.")
