"""The schema of the data: inferred once, curated by hand, kept as text; and the comparators that mlops.yaml asks for.

https://github.com/tensorflow/metadata/blob/master/tensorflow_metadata/proto/v0/schema.proto
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format

from accelerator.config import Config
from accelerator.config.sections import Comparison
from accelerator.data_validation.data import Rows
from accelerator.data_validation.library import schema_pb2, tfdv
from accelerator.errors import ConfigError, Place

TRAINING, SERVING = "TRAINING", "SERVING"
"""The environments: the label is in the one and not in the other."""
EMPTY = schema_pb2.Schema()


def path(config: Config) -> Path:
    """Where a project's schema is kept."""
    assert config.data_validation is not None
    return config.directory / config.data_validation.schema_file


def read(file: Path) -> Any | None:
    """The curated schema; None where there is none.

    Raises:
        ConfigError: It is no schema, with the line that is wrong.
    """
    try:
        content = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The schema cannot be read: {error}", place=str(file)) from None
    try:
        return text_format.Parse(content, schema_pb2.Schema())
    except text_format.ParseError as error:
        message = str(error).partition(" : ")[2] or str(error)
        raise ConfigError(
            f"The schema is no text of a tensorflow_metadata Schema: {message}",
            place=Place(str(file), error.GetLine(), error.GetColumn()),
            next_step="Correct the line; `infer` writes a schema to begin with.",
        ) from None


def infer(statistics: Any, rows: Rows, label: str) -> Any:
    """The schema that a data set's statistics suggest, the label left out of serving.

    Args:
        statistics: Those of `rows`.
        rows: The training data.
        label: The column that is learned.
    """
    schema = tfdv.infer_schema(statistics)
    schema.default_environment.extend([TRAINING, SERVING])
    truths = set(rows.truths)
    for feature in schema.feature:
        if feature.name in truths:
            # TFDV takes 0 and 1 for texts here.
            feature.bool_domain.SetInParent()
        if feature.name == label:
            feature.not_in_environment.append(SERVING)
    kept = [domain for domain in schema.string_domain if domain.name not in truths]
    del schema.string_domain[:]
    schema.string_domain.extend(kept)
    return schema


def with_comparators(schema: Any, config: Config) -> Any:
    """The schema with mlops.yaml's thresholds: a feature's wins over the schema's own, that over the general one."""
    section = config.data_validation
    assert section is not None
    compared = schema_pb2.Schema()
    compared.CopyFrom(schema)
    for feature in compared.feature:
        if section.drift is not None:
            _compare(feature, feature.drift_comparator, section.drift)
        if section.skew is not None and SERVING not in feature.not_in_environment:
            _compare(feature, feature.skew_comparator, section.skew)
    return compared


def _compare(feature: Any, comparator: Any, given: Comparison) -> None:
    measure = "infinity_norm" if categorical(feature) else "jensen_shannon_divergence"
    wanted = given.features.get(feature.name)
    if wanted is None and not comparator.ListFields():
        wanted = given.threshold
    if wanted is not None:
        comparator.Clear()
        getattr(comparator, measure).threshold = wanted


def categorical(feature: Any) -> bool:
    """Whether a feature of a schema has values that are told apart but not measured."""
    if feature.type == schema_pb2.BYTES:
        return True
    return feature.WhichOneof("domain_info") == "bool_domain" or bool(feature.int_domain.is_categorical)


def categories(schema: Any) -> list[str]:
    """The whole numbers of a schema that stand for categories."""
    return [feature.name for feature in schema.feature if feature.int_domain.is_categorical]


def text(message: Any) -> str:
    """A schema, or anomalies, as they are kept."""
    return str(text_format.MessageToString(message))
