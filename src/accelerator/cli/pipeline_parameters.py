"""The parameters of a pipeline as the command line gives them: `name=value`, read by the type the pipeline declares.

Whatever is wrong is said before anything is submitted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from accelerator.errors import ConfigError, suggestion

# The types of schema 2.0.0 by those of 2.1.0
_LEGACY = {"INT": "NUMBER_INTEGER", "DOUBLE": "NUMBER_DOUBLE", "STRING": "STRING"}
_WORDS = {
    "NUMBER_INTEGER": ("an integer", "3"),
    "NUMBER_DOUBLE": ("a number", "0.5"),
    "STRING": ("a string", "text"),
    "BOOLEAN": ("true or false", "true"),
    "LIST": ("a JSON list", "'[1, 2]'"),
    "STRUCT": ("a JSON object", "'{\"a\": 1}'"),
}


class ParameterError(ConfigError):
    """A parameter is not known, missing or of another type."""

    exit_code = 2


def parse(given: Sequence[str], spec: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a run's parameters.

    Args:
        given: `name=value`, one for each `--param`.
        spec: The PipelineSpec.
        known: Values from elsewhere, which `given` goes before.

    Raises:
        ParameterError: It names the parameter and what would be right.
    """
    pipeline = spec["pipelineInfo"]["name"]
    definitions = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    values = dict(known)
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ParameterError(f"--param {text}: there is no `=` in it", next_step="write --param name=value")
        if name not in definitions:
            raise ParameterError(
                f"The pipeline {pipeline} has no parameter {name!r}",
                place=f"--param {text}",
                next_step=suggestion(name, definitions) or "it has no parameters at all",
            )
        kind = kind_of(definitions[name])
        values[name] = value_of(name, value, kind)
        literals = definitions[name].get("literals")
        if literals and values[name] not in literals:
            raise ParameterError(
                f"Parameter {name} must be one of {', '.join(map(json.dumps, literals))}, not {value!r}",
                place=f"--param {text}",
            )
    missing = [
        name
        for name, definition in definitions.items()
        if name not in values and "defaultValue" not in definition and not definition.get("isOptional")
    ]
    if missing:
        named = ", ".join(f"{name} ({_words(definitions[name])[0]})" for name in missing)
        example = " ".join(f"--param {name}={_words(definitions[name])[1]}" for name in missing)
        raise ParameterError(f"The pipeline {pipeline} needs a value for {named}", next_step=f"add {example}")
    return values


def kind_of(definition: Mapping[str, Any]) -> str:
    """The type of a parameter, in the words of schema 2.1.0."""
    kind = definition.get("parameterType") or definition.get("type") or "STRING"
    return str(_LEGACY.get(kind, kind))


def value_of(name: str, text: str, kind: str) -> Any:
    """Text from a command line as a value of a type.

    Raises:
        ParameterError: It does not say such a value.
    """
    if kind == "STRING":
        return text
    stripped = text.strip()
    if kind == "BOOLEAN" and stripped.lower() in ("true", "false"):
        return stripped.lower() == "true"
    try:
        value = json.loads(stripped)
    except ValueError:
        value = None
    if kind == "NUMBER_INTEGER" and _is_number(value) and float(value).is_integer():
        return int(value)
    if kind == "NUMBER_DOUBLE" and _is_number(value):
        return float(value)
    if isinstance(value, {"LIST": list, "STRUCT": dict}.get(kind, ())):
        return value
    words, example = _WORDS.get(kind, (kind, "…"))
    raise ParameterError(
        f"Parameter {name} must be {words}, not {text!r}", next_step=f"write it as in --param {name}={example}"
    )


def runtime_values(values: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a PipelineJob's runtimeConfig that holds the parameters, as the specification's schema has it."""
    if spec.get("schemaVersion", "2.0.0") > "2.0.0":
        return {"parameterValues": dict(values)}
    fields = {"NUMBER_INTEGER": "intValue", "NUMBER_DOUBLE": "doubleValue"}
    definitions = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    kinds = {name: kind_of(definition) for name, definition in definitions.items()}
    return {"parameters": {name: {fields.get(kinds[name], "stringValue"): value} for name, value in values.items()}}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _words(definition: Mapping[str, Any]) -> tuple[str, str]:
    return _WORDS.get(kind_of(definition), (kind_of(definition), "…"))
