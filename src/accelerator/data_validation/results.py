"""What a validation has found, how grave it is, and how it is told; plain data, no TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from accelerator.config import Config
from accelerator.config.sections import Severity
from accelerator.errors import ConfigError, DataError, suggestion

_SHOWN = 20
"""Findings in a message; the report has all of them."""


class AnomalyError(DataError):
    """The data have anomalies of severity `error`."""


@dataclass(frozen=True)
class Finding:
    """One anomaly of one feature in one data set.

    Args:
        dataset: `train`, `validation`, `test` or `serving`.
        feature: The column; empty for one of the whole data set.
        kind: TFDV's type, such as ENUM_TYPE_UNEXPECTED_STRING_VALUES.
        short: TFDV's headline.
        reason: TFDV's own sentence.
        severity: What mlops.yaml makes of it.
        comparison: `skew` or `drift` where two data sets differ.
    """

    dataset: str
    feature: str
    kind: str
    short: str
    reason: str
    severity: Severity
    comparison: str = ""

    def __str__(self) -> str:
        where = self.dataset + (f", {self.comparison}" if self.comparison else "")
        return f"{self.feature or 'the data set'} ({where}): {self.reason} [{self.kind}]"


@dataclass(frozen=True)
class Distance:
    """How far apart a feature's distributions are in two data sets.

    Args:
        comparison: `skew` or `drift`.
        dataset: The data set that is compared with the training data (`train`: with the training data of before).
        feature: The column.
        measure: `L-infinity` or `Jensen-Shannon`.
        value: From 0 to 1.
        threshold: What it may be.
    """

    comparison: str
    dataset: str
    feature: str
    measure: str
    value: float
    threshold: float


@dataclass(frozen=True)
class Feature:
    """The statistics of one column in one data set.

    Args:
        present: Rows with a value.
        missing: Rows without one.
        numbers: `mean`, `standard deviation`, `minimum`, `median`, `maximum`, `zeros`; empty for categories.
        unique: How many values there are; None for numbers.
        top: The most frequent values and how often they occur.
        histogram: Lower bound, upper bound and count of each bar, for numbers.
    """

    present: int
    missing: int
    numbers: Mapping[str, float] = field(default_factory=dict)
    unique: int | None = None
    top: tuple[tuple[str, float], ...] = ()
    histogram: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Dataset:
    """One data set: its name, where its rows come from, how many there are, and their columns."""

    name: str
    place: str
    rows: int
    features: Mapping[str, Feature]


@dataclass(frozen=True)
class Validated:
    """What came of a validation.

    Args:
        datasets: What was looked at, training data first.
        findings: Every anomaly that is not ignored, the gravest first.
        distances: What skew and drift were measured to be.
        curated: Whether a schema of the project's was there; else it was inferred from these training rows.
        schema: The schema that was held against the data, as text, comparators included.
        schema_place: Where it is, or should be.
        report: Where the report is; empty if none was asked for.
    """

    datasets: tuple[Dataset, ...]
    findings: tuple[Finding, ...]
    distances: tuple[Distance, ...]
    curated: bool
    schema: str
    schema_place: str
    report: str = ""

    @property
    def compared(self) -> list[str]:
        """For each pair of data sets, one line on the distances that are over their thresholds, the largest first."""
        pairs: dict[tuple[str, str], list[Distance]] = {}
        for one in self.distances:
            if one.value > one.threshold:
                pairs.setdefault((one.comparison, one.dataset), []).append(one)
        return [
            f"{between(comparison, dataset)}: "
            + ", ".join(
                f"{one.feature} {one.value:.2f} > {one.threshold:g}" for one in sorted(over, key=lambda one: -one.value)
            )
            for (comparison, dataset), over in pairs.items()
        ]

    @property
    def errors(self) -> list[Finding]:
        """The anomalies that stop a pipeline."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """Those that do not."""
        return [finding for finding in self.findings if finding.severity == "warning"]

    @property
    def valid(self) -> bool:
        """Whether nothing stops the pipeline."""
        return not self.errors

    def require(self) -> None:
        """Raise where a pipeline has to stop.

        Raises:
            AnomalyError: It names the features, TFDV's reasons and what can be done.
        """
        errors = self.errors
        if not errors:
            return
        features = list(dict.fromkeys(finding.feature or "the data set" for finding in errors))
        listed = [f"  - {finding}" for finding in errors[:_SHOWN]]
        if len(errors) > _SHOWN:
            listed.append(f"  - and {len(errors) - _SHOWN} more")
        headline = f"The data do not fit their schema: {counted(len(errors), 'anomaly', 'anomalies')} of "
        headline += ", ".join(features[:_SHOWN])
        correct = f"correct {self.schema_place}" if self.curated else f"write {self.schema_place} (`infer` begins it)"
        next_step = f"Correct the rows; or, if they are right, {correct} or say so under data_validation.severity."
        raise AnomalyError(
            "\n".join([headline, *listed]),
            place="; ".join(
                dataset.place for dataset in self.datasets if any(found.dataset == dataset.name for found in errors)
            ),
            next_step=next_step + (f" The report is {self.report}." if self.report else ""),
        )

    def summary(self) -> dict[str, Any]:
        """The result as JSON: for a program, or the metadata of an artifact."""
        return {
            "valid": self.valid,
            "curated_schema": self.curated,
            "rows": {dataset.name: dataset.rows for dataset in self.datasets},
            "errors": [str(finding) for finding in self.errors],
            "warnings": [str(finding) for finding in self.warnings],
            "distances": [vars(distance) for distance in self.distances],
        }


def between(comparison: str, dataset: str) -> str:
    """What is compared, in words: a data set with the training data, those with the training data of before."""
    return f"{comparison} from {'the earlier train' if dataset == 'train' else 'train'} to {dataset}"


def counted(count: int, one: str, many: str = "") -> str:
    """`1 error`, `2 errors`."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def severity(config: Config, feature: str, kind: str, given: Severity, comparison: str = "") -> Severity:
    """What an anomaly is taken for: as its feature is, else its type, else its comparison, else as TFDV says.

    Args:
        config: Its `data_validation` section decides.
        feature: The column; empty for one of the whole data set.
        kind: TFDV's type.
        given: TFDV's own severity.
        comparison: `skew` or `drift` where two data sets differ.
    """
    section = config.data_validation
    assert section is not None
    for name in (feature, kind):
        if name in section.severity:
            return section.severity[name]
    compared = getattr(section, comparison) if comparison else None
    return compared.severity if compared is not None else given


def check_names(config: Config, features: Iterable[str], kinds: Iterable[str]) -> None:
    """Refuse names in the `data_validation` section that are neither a feature nor a type of anomaly.

    Raises:
        ConfigError: With the place of the name and the nearest right one.
    """
    section = config.data_validation
    assert section is not None
    features, kinds = list(features), list(kinds)
    named = [("severity", name, [*features, *kinds]) for name in section.severity]
    for setting in ("skew", "drift"):
        compared = getattr(section, setting)
        named += [(f"{setting}.features", name, features) for name in (compared.features if compared else ())]
    for setting, name, known in named:
        if name not in known:
            what = "no feature" if known is features else "neither a feature nor a type of anomaly"
            raise ConfigError(
                f"'{name}' in data_validation.{setting} is {what}",
                place=config.place(f"data_validation.{setting}.{name}"),
                next_step=suggestion(name, known),
            )


_ORDER: tuple[Severity, ...] = ("error", "warning")


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that are not ignored, the gravest first, else in the order they were found."""
    return tuple(found for grade in _ORDER for found in findings if found.severity == grade)
