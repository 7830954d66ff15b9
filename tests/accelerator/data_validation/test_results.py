"""How grave an anomaly is and how it is told; needs no TensorFlow."""

from __future__ import annotations

from pathlib import Path

import pytest

from accelerator.config import Config, load
from accelerator.data_validation import AnomalyError, Finding, Validated
from accelerator.data_validation.results import Dataset, Distance, check_names, ordered, severity
from accelerator.errors import ConfigError

KINDS = ("SCHEMA_NEW_COLUMN", "COMPARATOR_L_INFTY_HIGH", "FLOAT_TYPE_BIG_FLOAT")
YAML = """\
project: my-project
data: {{table: flights.departures, label: late}}
model: {{name: late}}
data_validation: {section}
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(section: str) -> Config:
        (tmp_path / "mlops.yaml").write_text(YAML.format(section=section))
        return load(tmp_path, environment={})

    return write


def finding(feature: str = "carrier", grade: str = "error", comparison: str = "", dataset: str = "train") -> Finding:
    return Finding(dataset, feature, "SCHEMA_NEW_COLUMN", "New column", "It is new.", grade, comparison)  # type: ignore[arg-type]


def validated(*findings: Finding, distances: tuple[Distance, ...] = (), curated: bool = True) -> Validated:
    datasets = tuple(Dataset(name, f"table {name}", 10, {}) for name in ("train", "serving"))
    return Validated(datasets, ordered(findings), distances, curated, "", "schema.pbtxt", "gs://b/report.html")


def test_the_section_has_defaults_and_short_forms(written):
    section = written("{skew: 0.1, drift: {threshold: 0.3, features: {temp: 0.7}, severity: error}}").data_validation
    assert section.schema_file == "schema.pbtxt"
    assert (section.skew.threshold, section.skew.severity) == (0.1, "warning")
    assert (section.drift.features, section.drift.severity) == ({"temp": 0.7}, "error")
    assert section.serving is None
    window = written('{serving: {window: "2013-09.."}}').data_validation.serving.window
    assert str(window) == "2013-09-01T00:00:00Z.."


def test_the_example_of_the_manual_is_right(tmp_path):
    manual = (Path(__file__).parents[3] / "docs" / "data-validation.md").read_text()
    section = manual.partition("```yaml\n")[2].partition("```")[0]
    head = YAML.partition("data_validation")[0].format()
    (tmp_path / "mlops.yaml").write_text(head + section)
    read = load(tmp_path, environment={}).data_validation
    assert (read.serving.table, read.skew.threshold) == ("flights.departures", 0.2)
    assert read.drift.features == {"temp": 0.7}


def test_without_the_section_there_is_none(written):
    assert load_without(written).data_validation is None


def load_without(written) -> Config:
    config = written("{}")
    config.path.write_text(config.path.read_text().partition("data_validation")[0])
    return load(config.path, environment={})


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{skew: 0}", "'data_validation.skew' is 0"),
        ("{drift: 1.5}", "'data_validation.drift' is 1.5"),
        ("{severity: {carrier: fatal}}", "'data_validation.severity.carrier' is 'fatal', which is none of"),
        ("{serving: {}}", "neither 'table' nor 'window' is given"),
        ("{serving: {window: 2013-09-xx}}", "'2013-09-xx' is no point in time"),
        ("{serving: {table: departures}}", "'departures' is no BigQuery table"),
        ("{shema: s.pbtxt}", "Did you mean 'schema'?"),
        ("{skew: {treshold: 0.1}}", "Did you mean 'threshold'?"),
    ],
)
def test_what_the_section_may_not_say(written, section, words):
    with pytest.raises(ConfigError) as caught:
        written(section)
    assert words in caught.value.render()
    assert caught.value.place.line == 4


def test_a_features_severity_wins_over_a_types_over_a_comparisons_over_tfdvs(written):
    config = written(
        "{severity: {SCHEMA_NEW_COLUMN: ignore, carrier: warning}, drift: {threshold: 1, severity: error}}"
    )
    assert severity(config, "carrier", "SCHEMA_NEW_COLUMN", "error") == "warning"
    assert severity(config, "origin", "SCHEMA_NEW_COLUMN", "error") == "ignore"
    assert severity(config, "origin", "FLOAT_TYPE_BIG_FLOAT", "error") == "error"
    assert severity(config, "origin", "FLOAT_TYPE_BIG_FLOAT", "warning") == "warning"
    assert severity(config, "origin", "COMPARATOR_L_INFTY_HIGH", "warning", "drift") == "error"
    # a comparator of the schema's own, of which mlops.yaml says nothing
    assert severity(config, "origin", "COMPARATOR_L_INFTY_HIGH", "error", "skew") == "error"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{severity: {carier: error}}", ["'carier' in data_validation.severity is neither", "'carrier'?"]),
        ("{severity: {SCHEMA_NEW_COLUM: error}}", ["'SCHEMA_NEW_COLUMN'?"]),
        ("{drift: {features: {SCHEMA_NEW_COLUMN: 0.1}}}", ["data_validation.drift.features is no feature", "carrier"]),
    ],
)
def test_unknown_names_are_refused_with_their_place(written, section, words):
    with pytest.raises(ConfigError) as caught:
        check_names(written(section), ["carrier", "wind_speed"], KINDS)
    for word in words:
        assert word in caught.value.render()
    assert caught.value.place.line == 4
    check_names(written("{severity: {carrier: error, SCHEMA_NEW_COLUMN: error}}"), ["carrier"], KINDS)


def test_errors_stop_and_warnings_do_not():
    result = validated(finding(grade="warning"), finding("gust", "ignore"))
    assert result.valid
    assert [found.feature for found in result.findings] == ["carrier"]
    result.require()
    result = validated(finding("seats", "warning"), finding(), finding("hour", dataset="serving"))
    assert [found.severity for found in result.findings] == ["error", "error", "warning"]
    with pytest.raises(AnomalyError) as caught:
        result.require()
    assert caught.value.render().splitlines() == [
        "The data do not fit their schema: 2 anomalies of carrier, hour",
        "  - carrier (train): It is new. [SCHEMA_NEW_COLUMN]",
        "  - hour (serving): It is new. [SCHEMA_NEW_COLUMN]",
        "  at:   table train; table serving",
        "  next: Correct the rows; or, if they are right, correct schema.pbtxt or say so under "
        "data_validation.severity. The report is gs://b/report.html.",
    ]


def test_a_long_list_is_cut_and_a_missing_schema_is_asked_for():
    with pytest.raises(AnomalyError) as caught:
        validated(*(finding(f"f{n}") for n in range(50)), curated=False).require()
    assert "  - and 30 more" in caught.value.render()
    assert "write schema.pbtxt (`infer` begins it)" in caught.value.render()


def test_distances_over_their_thresholds_are_one_line_a_pair():
    result = validated(
        distances=(
            Distance("drift", "validation", "temp", "Jensen-Shannon", 0.31, 0.3),
            Distance("drift", "validation", "dewp", "Jensen-Shannon", 0.62, 0.3),
            Distance("drift", "validation", "humid", "Jensen-Shannon", 0.3, 0.3),
            Distance("drift", "train", "temp", "Jensen-Shannon", 0.5, 0.3),
            Distance("skew", "serving", "carrier", "L-infinity", 0.2, 0.1),
        )
    )
    assert result.compared == [
        "drift from train to validation: dewp 0.62 > 0.3, temp 0.31 > 0.3",
        "drift from the earlier train to train: temp 0.50 > 0.3",
        "skew from train to serving: carrier 0.20 > 0.1",
    ]
    assert result.summary()["distances"][4]["feature"] == "carrier"
