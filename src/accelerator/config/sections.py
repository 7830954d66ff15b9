"""The sections of mlops.yaml and the kinds of values in them; what only one section can tell is checked here."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    PlainSerializer,
    model_validator,
)

from accelerator.windows import TimeRange

_TABLE = re.compile(r"([a-z][a-z0-9:.-]*\.)?[A-Za-z0-9_]+\.[\w $-]+")
_NETWORK = r"projects/[0-9]+/global/networks/[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
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


def _distance(value: Any) -> Any:
    """`skew: 0.1` is short for `skew: {threshold: 0.1}`."""
    return {"threshold": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


def matching(pattern: str, what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"'{text}' is no {what}")
        return text

    return AfterValidator(check)


OFF = BeforeValidator(lambda value: None if value is False else value)
"""A section that is switched off by `off` in its place."""
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
Window = Annotated[InstanceOf[TimeRange], BeforeValidator(TimeRange.parse), PlainSerializer(str)]
Distance = Annotated[float, Field(gt=0, le=1)]
Severity = Literal["error", "warning", "ignore"]
Scalar = bool | int | float | str


class Section(BaseModel):
    """A part of mlops.yaml: a key that is not declared is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SPLIT_VALUES = {"train": "training", "validation": "validation", "test": "test"}
"""By split, what a row's split column holds: the values of Vertex AI's predefined splits."""


class Split(Section):
    """Which rows train, validate and test.

    Windows over `data.time` in UTC, fractions of all rows, or a column whose value is `training`, `validation` or
    `test`, as in Vertex AI's predefined split.
    """

    train: Share | None = None
    validation: Share | None = None
    test: Share | None = None
    column: Name | None = None

    @model_validator(mode="after")
    def _disjoint(self) -> Split:
        if self.column is not None and self._fractions() | self.windows():
            raise ValueError(f"'column' ({self.column}) tells each row's split: leave train, validation and test out")
        if self.column is None and self.train is None:
            raise ValueError("nothing says which rows train: write train: 0.8, a window, or column: NAME")
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
    sql: Name | None = None
    """A SQL file of the project's that makes `table`, run first by every training pipeline."""
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
        column = self.split.column if self.split is not None else None
        if column is not None and column in (self.label, *self.features):
            raise ValueError(f"'{column}' tells each row's split: it can be neither the label nor a feature")
        if self.label in self.features:
            raise ValueError(f"the label '{self.label}' is among the features: a model would see the answer")
        return self


class Model(Section):
    """The model's name in the registry and the team's code."""

    name: Annotated[str, matching(r"[a-z][a-z0-9_-]{0,62}", "model name: use a-z, 0-9, - and _, a letter first")]
    code: Name = "model.py"
    requirements: Name = "requirements.txt"
    description: str = ""


class Training(Section):
    """The training job, where the defaults do not do."""

    machine: Name = "n1-standard-4"
    seed: int = 0
    hyperparameters: dict[str, Scalar] = {}
    """Values used when no flag gives them, such as the best of an earlier tuning."""


class Transform(Section):
    """What makes one clean table of a raw one: a function over rows, or one over batches."""

    to: Table
    rows: Name | None = None
    batches: Name | None = None

    @model_validator(mode="after")
    def _one_function(self) -> Transform:
        if (self.rows is None) == (self.batches is None):
            raise ValueError("name one function: rows: NAME for a dict at a time, or batches: NAME for Arrow batches")
        return self


class Preprocessing(Section):
    """Raw tables through a team's functions, by Apache Beam; off without this section."""

    code: Name = "preprocessing.py"
    tables: Annotated[dict[Table, Transform], Field(min_length=1)]
    """By raw table."""
    rejected: Table = "mlops.rejected"
    """The table that rejected rows are appended to, with the reason."""
    max_rejected: float = Field(default=0.01, ge=0, le=1)
    """The share of a table's rows above which it is not written."""
    runner: Literal["DirectRunner", "DataflowRunner"] = "DirectRunner"
    machine: Name = "n1-standard-2"
    workers: Replicas = (1, 4)
    """Of Dataflow, least and most."""
    service_account: Name | None = None
    """Whom Dataflow's workers run as; the project's default one where nothing is said."""


class Tuning(Section):
    """Hyperparameter tuning over the `search_space` of the training code."""

    metric: Name
    goal: Literal["maximize", "minimize"] = "maximize"
    trials: int = Field(default=20, ge=1)
    parallel: int = Field(default=1, ge=1)
    max_failed: int | None = Field(default=None, ge=1)
    """How many trials may fail before the search is given up; Vertex AI's own rule where nothing is said."""
    algorithm: Literal["bayesian", "grid", "random"] = "bayesian"


class Validation(Section):
    """The gate a new model passes before it is deployed. Metrics have the names of accelerator.evaluation.metrics."""

    thresholds: dict[str, float] = {}
    """By metric, what it must reach; of errors and losses, what it must not exceed."""
    slices: tuple[Name, ...] = ()
    """Columns, features or not, by whose values the metrics are told apart."""
    slice_thresholds: dict[str, float] = {}
    """The same as `thresholds` for every slice that is large enough."""
    slice_rows: int = Field(default=200, ge=1)
    """Rows that a slice has to have before thresholds are held against it."""
    beat: Name | None = None
    """The alias of the version that must be beaten on the same rows; where no version has it, thresholds decide."""
    metric: Name | None = None
    """What the two are compared by: `tuning.metric`, else AUC or RMSE, where nothing is said."""
    by: float = 0.0
    """The improvement that must be shown; a negative one allows to be that much worse."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Of the interval whose lower end has to be above `by`."""
    resamples: int = Field(default=500, ge=50)
    """Of the bootstrap that gives the interval."""


class CanaryCheck(Section):
    """What a new version must show on its share of the traffic before it gets all of it."""

    requests: int = Field(default=50, ge=1)
    """Requests with rows of the test split that the new version has to answer."""
    max_error_rate: float = Field(default=0.0, ge=0, lt=1)
    """The share of them that may fail."""
    max_latency: float = Field(default=5.0, gt=0)
    """Seconds within which 95 % of the answers have to be there."""


class Deployment(Section):
    """The endpoint: its kind, machine, least and most replicas, percent of traffic a new version gets first.

    Kinds: https://cloud.google.com/vertex-ai/docs/predictions/choose-endpoint-type.
    """

    endpoint: Literal["shared", "dedicated", "private"] = "shared"
    network: Annotated[str, matching(_NETWORK, "network: write projects/NUMBER/global/networks/NAME")] | None = None
    """Of a private endpoint: the network it is peered with, and answers in."""
    project_allowlist: tuple[Name, ...] = ()
    """Of a private endpoint: the projects that reach it by Private Service Connect."""
    machine: Name = "n1-standard-2"
    replicas: Replicas = (1, 1)
    canary: int = Field(default=100, ge=1, le=100)
    check: CanaryCheck = CanaryCheck()

    @model_validator(mode="after")
    def _reachable(self) -> Deployment:
        given = [name for name in ("network", "project_allowlist") if getattr(self, name)]
        if self.endpoint != "private" and given:
            raise ValueError(f"'{given[0]}' is for private endpoints: write endpoint: private, or leave it out")
        if self.endpoint == "private" and len(given) != 1:
            raise ValueError(
                "a private endpoint is reached in one of two ways: write network: projects/NUMBER/global/networks/NAME "
                "(peering), or project_allowlist: [PROJECT] (Private Service Connect)" + (", not both" if given else "")
            )
        if self.network and self.canary != 100:
            raise ValueError(
                f"an endpoint that is peered with a network has one model and no traffic split: leave canary out, "
                f"which is {self.canary}"
            )
        return self


class BatchPrediction(Section):
    """Predictions of a whole table, on a schedule where one is given."""

    schedule: Cron | None = None
    source: Table | None = Field(default=None, alias="from")
    to: Table
    machine: Name = "n1-standard-4"
    replicas: int = Field(default=1, ge=1)


class Monitoring(Section):
    """What is watched once the model serves, and who is told."""

    sample: float = Field(default=0.2, gt=0, le=1)
    drift: float = Field(default=0.1, gt=0)
    skew: float = Field(default=0.1, gt=0)
    schedule: Cron = "0 * * * *"
    alert: tuple[
        Annotated[str, matching(r"(email|pubsub|webhook):\S+", "alert: write email:…, pubsub:…, webhook:…")],
        ...,
    ] = ()


class Comparison(Section):
    """How far apart a feature's distributions in two data sets may be, from more than 0 to 1.

    Text and truth values by the L-infinity distance, numbers by the Jensen-Shannon divergence.
    """

    threshold: Distance | None = None
    """Of the features that neither `features` nor the schema gives one."""
    features: dict[Name, Distance] = {}
    severity: Severity = "warning"


class Serving(Section):
    """The rows that are to be predicted, which have no label yet."""

    table: Table | None = None
    """The table of the data where nothing is said."""
    window: Window | None = None
    """Over `data.time`; all rows of `table` where nothing is said."""

    @model_validator(mode="after")
    def _says_something(self) -> Serving:
        if self.table is None and self.window is None:
            raise ValueError("neither 'table' nor 'window' is given: all rows, those of training too, would be served")
        return self


class DataValidation(Section):
    """TensorFlow Data Validation of the rows that train, are evaluated and are served; off without this section."""

    schema_file: Name = Field(default="schema.pbtxt", alias="schema")
    serving: Serving | None = None
    severity: dict[Name, Severity] = {}
    """By feature or type of anomaly, where TFDV's own severity does not do; a feature's wins over a type's."""
    skew: Annotated[Comparison | None, BeforeValidator(_distance)] = None
    """Between training and serving data."""
    drift: Annotated[Comparison | None, BeforeValidator(_distance)] = None
    """Between training and evaluation data, and from the run before."""
