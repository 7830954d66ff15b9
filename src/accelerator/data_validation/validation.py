"""A schema held against statistics by TFDV: anomalies, skew and drift."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from accelerator.config import Config
from accelerator.config.sections import Severity
from accelerator.data_validation.library import anomalies_pb2, tfdv
from accelerator.data_validation.results import Distance, Finding, severity
from accelerator.data_validation.schema import SERVING, TRAINING
from accelerator.errors import ConfigError

KINDS: tuple[str, ...] = tuple(anomalies_pb2.AnomalyInfo.Type.keys())
"""The types of anomalies that TFDV knows."""
_MEASURES = {"L_INFTY": "L-infinity", "JENSEN_SHANNON_DIVERGENCE": "Jensen-Shannon"}
_COMPARED = "COMPARATOR_"


@dataclass
class Found:
    """What TFDV says of a project's data."""

    findings: list[Finding] = field(default_factory=list)
    distances: list[Distance] = field(default_factory=list)
    anomalies: dict[str, Any] = field(default_factory=dict)
    """By data set, TFDV's own Anomalies, skew and drift included."""


def validate(
    statistics: Mapping[str, Any], schema: Any, config: Config, *, place: str, previous: Any | None = None
) -> Found:
    """Validate every data set, and compare them.

    Args:
        statistics: By data set: `train`, then those to be compared with it; `serving` has no label.
        schema: With its comparators.
        config: Tells how grave an anomaly is.
        place: Where the schema is, for an error.
        previous: The statistics of the training data of the run before.

    Raises:
        ConfigError: TFDV cannot use the schema.
    """
    found = Found()
    train = statistics["train"]
    for name, current in statistics.items():
        options: dict[str, Any] = {"environment": _environment(schema, SERVING if name == "serving" else TRAINING)}
        comparison = ""
        if name not in ("train", "serving"):
            options["previous_statistics"], comparison = train, "drift"
        elif name == "train" and previous is not None:
            options["previous_statistics"], comparison = previous, "drift"
        anomalies = _call(partial(tfdv.validate_statistics, current, schema, **options), place)
        _add(found, name, anomalies, config, comparison)
        found.anomalies[name] = anomalies
    if "serving" in statistics:
        options = {"environment": _environment(schema, TRAINING), "serving_statistics": statistics["serving"]}
        skew = _call(partial(tfdv.validate_statistics, train, schema, **options), place)
        # The training data's own anomalies are in it once more.
        _keep_comparisons(skew)
        _add(found, "serving", skew, config, "skew")
        found.anomalies["serving-skew"] = skew
    return found


def _environment(schema: Any, wanted: str) -> str | None:
    """TFDV refuses an environment that the schema does not have."""
    return wanted if wanted in schema.default_environment else None


def _call(validate: Callable[[], Any], place: str) -> Any:
    try:
        return validate()
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"TFDV cannot use the schema: {str(error).splitlines()[0]}",
            place=place,
            next_step="Correct the schema.",
        ) from error


def _add(found: Found, dataset: str, anomalies: Any, config: Config, comparison: str) -> None:
    infos = [(_name(info.path, key), info) for key, info in sorted(anomalies.anomaly_info.items())]
    if anomalies.HasField("dataset_anomaly_info"):
        infos.append(("", anomalies.dataset_anomaly_info))
    for feature, info in infos:
        given: Severity = "warning" if info.severity == anomalies_pb2.AnomalyInfo.WARNING else "error"
        for reason in info.reason:
            kind = anomalies_pb2.AnomalyInfo.Type.Name(reason.type)
            compared = comparison if kind.startswith(_COMPARED) else ""
            grade = severity(config, feature, kind, given, compared)
            found.findings.append(
                Finding(dataset, feature, kind, reason.short_description, reason.description.strip(), grade, compared)
            )
    for info in anomalies.drift_skew_info:
        measured = info.skew_measurements if comparison == "skew" else info.drift_measurements
        for one in measured:
            measure = type(one).Type.Name(one.type)
            found.distances.append(
                Distance(
                    comparison,
                    dataset,
                    _name(info.path, ""),
                    _MEASURES.get(measure, measure),
                    float(one.value),
                    float(one.threshold),
                )
            )


def _keep_comparisons(anomalies: Any) -> None:
    for key, info in list(anomalies.anomaly_info.items()):
        kept = [
            reason for reason in info.reason if anomalies_pb2.AnomalyInfo.Type.Name(reason.type).startswith(_COMPARED)
        ]
        if not kept:
            del anomalies.anomaly_info[key]
            continue
        del info.reason[:]
        info.reason.extend(kept)
        info.short_description = kept[0].short_description
        info.description = " ".join(reason.description for reason in kept)
    anomalies.ClearField("dataset_anomaly_info")


def _name(path: Any, otherwise: str) -> str:
    return ".".join(path.step) or otherwise
