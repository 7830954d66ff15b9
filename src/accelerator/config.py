"""mlops.yaml as one typed object: names said once for the code, the pipelines, Terraform and the dashboards.

Only what the file itself tells is checked here; tables, code and clouds are looked at by who uses them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from accelerator.errors import ConfigError, Place, nearest, suggestion
from accelerator.windows import TimeRange
from accelerator.yaml_source import YamlSource

FILE_NAME = "mlops.yaml"
ENVIRONMENT = {"project": "MLOPS_PROJECT", "region": "MLOPS_REGION"}
"""The values that a machine may say in place of the file, and the variables it says them in."""

_TABLE = re.compile(r"([a-z][a-z0-9:.-]*\.)?[A-Za-z0-9_]+\.[\w $-]+")
_CRON_FIELD = re.compile(r"[\w*/,\-#?]+")


def _table(name: str) -> str:
    if not _TABLE.fullmatch(name):
        raise ValueError(f"'{name}' is no BigQuery table: write dataset.table or project.dataset.table")
    return name


def _cron(text: str) -> str:
    fields = re.sub(r"^(CRON_)?TZ=\S+\s+", "", text).split()
    if len(fields) != 5 or not all(_CRON_FIELD.fullmatch(field) for field in fields):
        raise ValueError(f"'{text}' is no cron schedule: write minute hour day month weekday, such as '0 5 * * *'")
    return text


def _replicas(value: Any) -> Any:
    return [value, value] if isinstance(value, int) and not isinstance(value, bool) else value


def _ordered(replicas: tuple[int, int]) -> tuple[int, int]:
    if replicas[0] > replicas[1]:
        raise ValueError(f"at least {replicas[0]} replicas but at most {replicas[1]}: write [least, most]")
    return replicas


def _share(value: Any) -> TimeRange | float:
    """A fraction of the rows, or a window: four digits are a year."""
    text = str(value).strip()
    try:
        number = float("" if re.fullmatch(r"\d{4}", text) else text)
    except ValueError:
        return TimeRange.parse(text)
    if not 0 < number <= 1:
        raise ValueError(f"{text} is no fraction of the rows: write more than 0 and at most 1, such as 0.8")
    return number


def _matching(pattern: str, what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"'{text}' is no {what}")
        return text

    return AfterValidator(check)


Table = Annotated[str, AfterValidator(_table)]
Cron = Annotated[str, AfterValidator(_cron)]
Name = Annotated[str, Field(min_length=1)]
Share = Annotated[
    InstanceOf[TimeRange] | float,
    BeforeValidator(_share),
    PlainSerializer(lambda share: share if isinstance(share, float) else str(share)),
]
Replicas = Annotated[
    tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]],
    BeforeValidator(_replicas),
    AfterValidator(_ordered),
]
Scalar = bool | int | float | str


class Section(BaseModel):
    """A part of mlops.yaml: a key that is not declared is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(Section):
    """Which rows train, validate and test: windows over `data.time`, in UTC, or fractions of all rows."""

    train: Share
    validation: Share | None = None
    test: Share | None = None

    @model_validator(mode="after")
    def _disjoint(self) -> Split:
        windows, fractions = list(self.windows().items()), self._fractions()
        if windows and fractions:
            (window_name, window), (name, fraction) = windows[0], next(iter(fractions.items()))
            raise ValueError(
                f"{window_name} is a window ({window}) and {name} a fraction ({fraction}): "
                "write all as windows or all as fractions"
            )
        if sum(map(_exact, fractions.values())) > 1:
            listed = " + ".join(f"{name} {fraction}" for name, fraction in fractions.items())
            raise ValueError(f"the fractions {listed} are more than 1: rows would be in two")
        for index, (name, window) in enumerate(windows):
            for other, other_window in windows[index + 1 :]:
                if window.overlaps(other_window):
                    raise ValueError(f"{name} ({window}) and {other} ({other_window}) overlap: rows would be in both")
        return self

    def windows(self) -> dict[str, TimeRange]:
        """The windows that are given, by the name of their split; none where it is by fractions."""
        return {name: share for name, share in self._named().items() if isinstance(share, TimeRange)}

    def parts(self) -> dict[str, tuple[float, float]]:
        """By split, where its part of [0, 1) starts (included) and ends; none where it is by windows."""
        found: dict[str, tuple[float, float]] = {}
        start = Fraction(0)
        for name, fraction in self._fractions().items():
            end = start + _exact(fraction)
            found[name] = (float(start), float(end))
            start = end
        return found

    def _fractions(self) -> dict[str, float]:
        return {name: share for name, share in self._named().items() if isinstance(share, float)}

    def _named(self) -> dict[str, TimeRange | float | None]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


def _exact(fraction: float) -> Fraction:
    """The decimal as it is written: 0.7, 0.2 and 0.1 are 1 together, which their floats are not."""
    return Fraction(str(fraction))


class Data(Section):
    """Where the rows come from and what their columns are.

    `table` is in BigQuery; `files` are gs:// uris or paths (Parquet, CSV, JSON lines; wildcards allowed).
    Features are all columns but the label, the time, the key and those under `ignore`, unless `features` lists them.
    """

    table: Table | None = None
    files: tuple[Name, ...] = ()
    label: Name
    time: Name | None = None
    key: Name | None = None
    """Rows with the same value here stay together where fractions split them; else only equal rows do."""
    features: tuple[Name, ...] = ()
    ignore: tuple[Name, ...] = ()
    split: Split | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Data:
        if self.table is not None and self.files:
            raise ValueError("both 'table' and 'files' are given: keep one")
        windows = self.split is not None and bool(self.split.windows())
        if windows and self.time is None:
            raise ValueError("'split' has windows but 'time' names no column to cut by")
        if windows and self.key is not None:
            raise ValueError("'key' is for fractions, but 'split' has windows: keep one of them")
        if self.key == self.label:
            raise ValueError(f"'key' is the label '{self.label}': rows that train and validate would share none")
        if self.label in self.features:
            raise ValueError(f"the label '{self.label}' is among the features: a model would see the answer")
        return self


class Model(Section):
    """The model's name in the registry and the team's code."""

    name: Annotated[str, _matching(r"[a-z][a-z0-9_-]{0,62}", "model name: use a-z, 0-9, - and _, a letter first")]
    code: Name = "model.py"
    requirements: Name = "requirements.txt"
    description: str = ""


class Training(Section):
    """The training job, where the defaults do not do."""

    machine: Name = "n1-standard-4"
    seed: int = 0
    hyperparameters: dict[str, Scalar] = {}
    """Values used when no flag gives them, such as the best of an earlier tuning."""


class Tuning(Section):
    """Hyperparameter tuning over the `search_space` of the training code."""

    metric: Name
    goal: Literal["maximize", "minimize"] = "maximize"
    trials: int = Field(default=20, ge=1)
    parallel: int = Field(default=1, ge=1)
    algorithm: Literal["bayesian", "grid", "random"] = "bayesian"


class Validation(Section):
    """The gate a new model passes before it is deployed."""

    thresholds: dict[str, float] = {}
    slices: tuple[Name, ...] = ()
    beat: Name | None = None
    """Alias of the model version that must not be better on the same rows."""


class Deployment(Section):
    """The endpoint: machine, least and most replicas, percent of traffic a new version gets first."""

    machine: Name = "n1-standard-2"
    replicas: Replicas = (1, 1)
    canary: int = Field(default=100, ge=1, le=100)


class BatchPrediction(Section):
    """Predictions of a whole table, on a schedule where one is given."""

    schedule: Cron | None = None
    source: Table | None = Field(default=None, alias="from")
    to: Table
    machine: Name = "n1-standard-4"


class Monitoring(Section):
    """What is watched once the model serves, and who is told."""

    sample: float = Field(default=0.2, gt=0, le=1)
    drift: float = Field(default=0.1, gt=0)
    skew: float = Field(default=0.1, gt=0)
    schedule: Cron = "0 * * * *"
    alert: tuple[
        Annotated[str, _matching(r"(email|pubsub|webhook):\S+", "alert: write email:…, pubsub:…, webhook:…")],
        ...,
    ] = ()


class Config(Section):
    """A whole mlops.yaml. Made by `load`."""

    project: Annotated[str, _matching(r"[a-z][a-z0-9:.-]{4,61}[a-z0-9]", "project id: 6 to 63 of a-z, 0-9 and -")]
    region: Annotated[str, _matching(r"[a-z]+(-[a-z]+)+[0-9]+", "region, such as us-central1")] = "us-central1"
    bucket: Annotated[str, _matching(r"(gs://)?[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", "bucket name")] | None = None
    data: Data
    model: Model
    training: Training = Training()
    tuning: Tuning | None = None
    validation: Validation = Validation()
    deployment: Deployment = Deployment()
    batch_prediction: BatchPrediction | None = None
    monitoring: Monitoring = Monitoring()

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
