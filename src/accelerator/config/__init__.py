"""mlops.yaml as one typed object: names said once for the code, the pipelines, Terraform and the dashboards.

Only what the file itself tells is checked here; tables, code and clouds are looked at by who uses them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import BaseModel, PrivateAttr, ValidationError
from pydantic_core import ErrorDetails

from accelerator.config.sections import (
    OFF,
    BatchPrediction,
    Data,
    DataValidation,
    Deployment,
    Model,
    Monitoring,
    Preprocessing,
    Scalar,
    Section,
    Split,
    Table,
    Training,
    Tuning,
    Validation,
    matching,
)
from accelerator.errors import ConfigError, Place, nearest, suggestion
from accelerator.yaml_source import YamlSource

__all__ = ["ENVIRONMENT", "FILE_NAME", "Config", "Split", "load"]

FILE_NAME = "mlops.yaml"
ENVIRONMENT = {"project": "MLOPS_PROJECT", "region": "MLOPS_REGION"}
"""The values that a machine may say in place of the file, and the variables it says them in."""


class Config(Section):
    """A whole mlops.yaml. Made by `load`."""

    project: Annotated[str, matching(r"[a-z][a-z0-9:.-]{4,61}[a-z0-9]", "project id: 6 to 63 of a-z, 0-9 and -")]
    region: Annotated[str, matching(r"[a-z]+(-[a-z]+)+[0-9]+", "region, such as us-central1")] = "us-central1"
    bucket: Annotated[str, matching(r"(gs://)?[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", "bucket name")] | None = None
    data: Data
    model: Model
    preprocessing: Annotated[Preprocessing | None, OFF] = None
    data_validation: Annotated[DataValidation | None, OFF] = None
    training: Training = Training()
    tuning: Annotated[Tuning | None, OFF] = None
    validation: Validation = Validation()
    deployment: Annotated[Deployment | None, OFF] = Deployment()
    batch_prediction: Annotated[BatchPrediction | None, OFF] = None
    monitoring: Monitoring = Monitoring()
    runs: Table = "mlops.runs"
    """The table with one row a pipeline run: what it did, how long, and what came of it."""

    _source: YamlSource | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path:
        """The file this was read from."""
        return self._source.path if self._source is not None else Path(FILE_NAME)

    @property
    def directory(self) -> Path:
        """The team's project folder, which `model.code` and `model.requirements` are relative to."""
        return self.path.parent

    @property
    def bucket_name(self) -> str:
        """The bucket that jobs stage and save in; `<project>-mlops` unless the file names one."""
        return (self.bucket or f"{self.project}-mlops").removeprefix("gs://")

    def place(self, dotted: str) -> Place:
        """Where a setting such as `data.label` stands, for an error that is found out later."""
        return self._source.place(dotted.split(".")) if self._source is not None else Place(str(self.path))


def load(
    path: str | Path = FILE_NAME,
    *,
    overrides: Iterable[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> Config:
    """Read mlops.yaml.

    Args:
        path: The file, or the folder that it is in.
        overrides: `key.key=value` as given to `--set`; they win over the environment, it over the file.
        environment: Where the variables of `ENVIRONMENT` are looked up.

    Raises:
        ConfigError: With file, line and column of what is wrong and, for a wrong name, the nearest right one.
    """
    path = Path(path)
    source = YamlSource(path / FILE_NAME if path.is_dir() else path)
    origins: dict[tuple[str, ...], str] = {}
    for key, variable in ENVIRONMENT.items():
        if environment.get(variable):
            _put(source.values, (key,), environment[variable], variable)
            origins[(key,)] = f"environment variable {variable}"
    for override in overrides:
        dotted, equals, text = override.partition("=")
        if not equals or not dotted:
            raise ConfigError(f"--set {override} sets nothing", next_step="Write --set section.key=value.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        keys = tuple(dotted.split("."))
        _put(
            source.values,
            keys,
            value if isinstance(value, Scalar | list | dict | None) else text,
            f"--set {dotted}",
        )
        origins[keys] = f"--set {dotted}"
    try:
        config = Config.model_validate(source.values)
    except ValidationError as error:
        raise _explain(error, source, origins) from None
    config._source = source
    return config


def _put(values: dict[str, Any], keys: tuple[str, ...], value: Any, origin: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise ConfigError(f"'{key}' holds one value, not a section", place=origin)
    values[keys[-1]] = value


def _explain(error: ValidationError, source: YamlSource, origins: Mapping[tuple[str, ...], str]) -> ConfigError:
    details = error.errors()
    unknown = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
    meant = {(*loc[:-1], nearest(str(loc[-1]), _open_keys(loc[:-1], source.values))) for loc in unknown}
    # `lable: x` is one mistake, not an unknown key and a missing one.
    details = [detail for detail in details if detail["type"] != "missing" or detail["loc"] not in meant]
    found = [_problem(detail, source, origins) for detail in details]
    if len(found) == 1:
        return found[0]
    listed = [" ".join(filter(None, (f"{p.place}: {p.headline}.", p.next_step))) for p in found]
    headline = "\n".join([f"{source.path.name} has {len(found)} errors", *(f"  - {line}" for line in listed)])
    return ConfigError(headline, next_step="Correct these lines and run again.")


def _problem(detail: ErrorDetails, source: YamlSource, origins: Mapping[tuple[str, ...], str]) -> ConfigError:
    location = _written(detail["loc"], source.values)
    dotted = ".".join(str(step) for step in location)
    kind, message, next_step = detail["type"], detail["msg"], ""
    if kind == "extra_forbidden":
        section = ".".join(str(step) for step in location[:-1])
        headline = f"Unknown key '{location[-1]}'" + (f" in '{section}'" if section else "")
        next_step = suggestion(str(location[-1]), _open_keys(location[:-1], source.values))
    elif kind == "missing" and isinstance(detail["loc"][-1], int):
        headline = f"'{dotted}' has too few values"
    elif kind == "model_type":
        headline = f"'{dotted}' is {detail['input']!r}, not a section"
        next_step = "Write its keys below it, indented."
    elif kind == "missing":
        headline = f"'{dotted}' is missing"
        variable = ENVIRONMENT.get(dotted)
        next_step = "Add it" + (f", or set {variable}." if variable else ".")
    elif kind == "literal_error":
        headline = f"'{dotted}' is '{detail['input']}', which is none of {detail['ctx']['expected']}"
        next_step = suggestion(str(detail["input"]), re.findall(r"'([^']*)'", detail["ctx"]["expected"]))
    elif kind == "value_error":
        headline = f"{dotted}: {message.removeprefix('Value error, ')}" if dotted else message
    else:
        headline = f"'{dotted}' is {detail['input']!r}: {message[:1].lower()}{message[1:]}"
    for depth in range(len(location), 0, -1):
        origin = origins.get(tuple(str(step) for step in location[:depth]))
        if origin is not None:
            return ConfigError(headline, place=origin, next_step=next_step)
    return ConfigError(headline, place=source.place(location, key=kind == "extra_forbidden"), next_step=next_step)


def _written(location: Iterable[str | int], values: Any) -> list[str | int]:
    """The part of pydantic's location that stands in the file, plus one name that is missing there."""
    written: list[str | int] = []
    for step in location:
        inside = isinstance(values, dict) and step in values
        inside = inside or (isinstance(values, list) and isinstance(step, int) and step < len(values))
        if not inside:
            if isinstance(values, dict) and not isinstance(step, int) and "[" not in step:
                written.append(step)
            break
        written.append(step)
        values = values[step]
    return written


def _open_keys(location: Iterable[str | int], values: Any) -> list[str]:
    """The keys that the section at `location` may have and does not have yet."""
    section: type[BaseModel] | None = Config
    for step in location:
        field = _fields(section).get(str(step)) if section is not None else None
        kinds = [field, *get_args(field)] if field is not None else []
        section = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        values = values[step]
    return [key for key in _fields(section) if key not in values] if section is not None else []


def _fields(section: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in section.model_fields.items()}
