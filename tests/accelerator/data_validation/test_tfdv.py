"""Data validation by TFDV itself, in the image's environment: schemas, anomalies, comparisons, outputs, faults."""

from __future__ import annotations

import html
import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from tests.accelerator.data_validation.conftest import flights

from accelerator.training.fractions import draws


@pytest.fixture
def curated(project):
    """The project with a schema of its own: the inferred one, with a range for the hour."""
    inferred = project.run("infer")
    assert inferred.code == 0, inferred.err
    text = project.schema.read_text()
    assert 'name: "hour"' in text
    project.schema.write_text(text.replace('name: "hour"', 'name: "hour"\n  int_domain { min: 0 max: 23 }'))
    return project


def spoiled(name, value, rows=slice(-3, None)):
    """A column with a value that does not belong there, in the last rows unless said otherwise."""
    values = flights()[name].to_pylist()
    values[rows] = [value] * len(values[rows])
    return {name: pa.array(values)}


def test_infer_writes_a_schema_once(project):
    assert project.run("infer").code == 0
    text = project.schema.read_text()
    assert 'default_environment: "SERVING"' in text
    assert text.count("bool_domain") == 2
    assert 'not_in_environment: "SERVING"' in text.partition('name: "late"')[2]
    assert '"time"' not in text
    again = project.run("infer")
    assert again.code == 1
    assert "already" in again.err.splitlines()[0]
    assert "--output" in again.err
    assert project.run("infer", "--output", "other.pbtxt").code == 0
    assert (project.folder / "other.pbtxt").read_text() == text


def test_what_is_inferred_fits_and_is_said_to_be_inferred(project):
    run = project.run("--statistics_dir", "out", "--report", "out/report.html")
    assert run.code == 0, run.err
    assert "warning: there is no schema.pbtxt" in run.out
    written = {path.relative_to(project.folder / "out").as_posix() for path in (project.folder / "out").rglob("*.*")}
    assert written == {
        "Split-train/FeatureStats.pb",
        "Split-train/anomalies.pbtxt",
        "Split-validation/FeatureStats.pb",
        "Split-validation/anomalies.pbtxt",
        "Split-serving/FeatureStats.pb",
        "Split-serving/anomalies.pbtxt",
        "Split-serving-skew/anomalies.pbtxt",
        "schema.pbtxt",
        "validation.json",
        "report.html",
    }
    summary = json.loads((project.folder / "out" / "validation.json").read_text())
    assert (summary["valid"], summary["curated_schema"], summary["errors"]) == (True, False, [])
    assert sum(summary["rows"].values()) == 900
    assert "There is no schema.pbtxt" in (project.folder / "out" / "report.html").read_text()


def test_a_curated_schema_that_fits(curated):
    run = curated.run()
    assert run.code == 0, run.err
    assert "there is no" not in run.out
    assert "serving: 302 rows, 5 columns" in run.out


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (spoiled("carrier", "ZZ"), ["carrier (serving)", "missing from the schema: ZZ", "UNEXPECTED_STRING_VALUES"]),
        (spoiled("carrier", "ZZ", slice(0, 3)), ["carrier (train)", "ZZ"]),
        (spoiled("hour", 31), ["hour (serving)", "Unexpectedly large value: 31", "INT_TYPE_BIG_INT"]),
        ({"seats": None}, ["seats (train)", "Column is completely missing", "SCHEMA_MISSING_COLUMN"]),
        ({"gate": pa.array(["A1"] * 900)}, ["gate (train)", "New column", "SCHEMA_NEW_COLUMN"]),
        ({"hour": pa.array(["noon"] * 900)}, ["hour (train)", "got STRING"]),
        ({"carrier": pa.array([7] * 900)}, ["carrier (train)", "got INT"]),
        ({"gust": pa.array([None] * 900, pa.float64())}, ["gust (train)", "gust"]),
        (spoiled("hour", None, slice(0, 3)), ["hour (train)", "LOW_FRACTION_PRESENT"]),
    ],
    ids="unknown-carrier in-train out-of-range dropped new number-now-text text-now-number all-null missing".split(),
)
def test_anomalies_stop_the_run_and_are_named(curated, columns, words):
    curated.rows(**columns)
    run = curated.run("--report", "report.html")
    assert run.code == 1, run.out
    assert run.err.startswith("The data do not fit their schema: ")
    for word in words:
        assert word in run.err
    assert "next: Correct the rows; or, if they are right, correct schema.pbtxt" in run.err
    assert "Traceback" not in run.err
    assert words[1] in html.unescape((curated.folder / "report.html").read_text())


@pytest.mark.parametrize("name", ["carrier", "ENUM_TYPE_UNEXPECTED_STRING_VALUES"])
def test_severity_by_feature_or_type(curated, name):
    curated.rows(**spoiled("carrier", "ZZ"))
    curated.settings["data_validation"]["severity"] = {name: "warning"}
    run = curated.run()
    assert run.code == 0, run.err
    assert "warning: carrier (serving): Examples contain values missing from the schema: ZZ" in run.out
    curated.settings["data_validation"]["severity"] = {name: "ignore"}
    assert "ZZ" not in curated.run().out


def test_skew_and_drift_are_measured_against_thresholds(curated):
    late = np.arange(900) >= 600
    curated.rows(
        carrier=pa.array(np.where(late, "AA", flights()["carrier"].to_pylist())),
        seats=pa.array(np.where(np.arange(900) >= 303, 300, flights()["seats"].to_pylist())),
    )
    curated.settings["data_validation"] |= {"skew": 0.3, "drift": {"threshold": 0.3, "severity": "error"}}
    run = curated.run("--statistics_dir", "out")
    assert run.code == 1
    assert "seats (validation, drift)" in run.err
    assert "carrier" not in run.err
    assert "warning: skew from train to serving: " in run.out
    assert "carrier 0." in run.out
    distances = json.loads((curated.folder / "out" / "validation.json").read_text())["distances"]
    found = {(one["comparison"], one["feature"]): one for one in distances}
    assert found["skew", "carrier"]["measure"] == "L-infinity"
    assert found["drift", "seats"]["measure"] == "Jensen-Shannon"
    assert ("skew", "late") not in found
    curated.settings["data_validation"] |= {"drift": {"threshold": 0.3, "features": {"seats": 1}, "severity": "error"}}
    assert curated.run().code == 0


def test_drift_from_the_run_before(curated):
    assert curated.run("--statistics_dir", "before").code == 0
    curated.rows(carrier=pa.array(["AA"] * 900))
    curated.settings["data_validation"]["drift"] = {"features": {"carrier": 0.2}, "severity": "error"}
    run = curated.run("--previous_statistics", "before")
    assert run.code == 1
    assert "carrier (train, drift)" in run.err
    assert "drift from the earlier train to train: carrier 0." in run.out
    run = curated.run("--previous_statistics", "elsewhere")
    assert (run.code, run.err.splitlines()[0]) == (1, "There are no statistics of an earlier run")


def test_whole_numbers_that_are_categories(curated):
    text = curated.schema.read_text()
    curated.schema.write_text(text.replace('name: "seats"', 'name: "seats"\n  int_domain { is_categorical: true }'))
    curated.settings["data_validation"]["drift"] = {"features": {"seats": 1}}
    run = curated.run("--statistics_dir", "out")
    assert run.code == 0, run.err
    (one,) = json.loads((curated.folder / "out" / "validation.json").read_text())["distances"]
    assert (one["feature"], one["measure"]) == ("seats", "L-infinity")


def test_decimals_dates_and_dictionaries(project):
    project.rows(
        fare=pa.array([f"{n}.25" for n in range(900)]).cast(pa.decimal128(10, 2)),
        day=pa.array(np.datetime64("2013-05-01") + np.arange(900)).cast(pa.date32()),
        carrier=flights()["carrier"].dictionary_encode(),
    )
    run = project.run("--statistics_dir", "out")
    assert run.code == 0, run.err
    text = (project.folder / "out" / "schema.pbtxt").read_text()
    assert "type: FLOAT" in text.partition('name: "fare"')[2][:200]
    assert 'domain: "carrier"' in text


def test_splits_by_fractions_are_those_of_training(project):
    project.settings["data"] |= {"split": {"train": 0.7, "validation": 0.3}, "ignore": ["time"]}
    project.settings["data_validation"] = {}
    run = project.run("--statistics_dir", "out")
    assert run.code == 0, run.err
    rows = json.loads((project.folder / "out" / "validation.json").read_text())["rows"]
    batch = pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in flights().items() if name != "time"})
    train = int((draws(batch, batch.schema.names) < 0.7).sum())
    assert rows == {"train": train, "validation": 900 - train}


def test_csv(project):
    csv.write_csv(pa.table(flights()), project.folder / "rows.csv")
    project.settings["data"]["files"] = ["rows.csv"]
    run = project.run()
    assert run.code == 0, run.err
    assert "train: 304 rows, 6 columns from rows.csv" in run.out


def test_json_lines_are_refused(project):
    (project.folder / "rows.jsonl").write_text('{"carrier": "UA", "late": true}\n')
    project.settings["data"] = {"files": ["rows.jsonl"], "label": "late"}
    run = project.run()
    assert run.code == 1
    assert run.err.startswith("Data validation reads no JSON lines")


def test_nan_is_a_value_that_a_schema_can_refuse(curated):
    text = curated.schema.read_text()
    curated.schema.write_text(text.replace('name: "gust"', 'name: "gust"\n  float_domain { disallow_nan: true }'))
    assert curated.run().code == 0
    curated.rows(**spoiled("gust", float("nan")))
    run = curated.run()
    assert run.code == 1
    assert "gust (serving): Float feature has NaN values" in run.err


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"severity": {"carier": "warning"}}, ["'carier' in data_validation.severity", "Did you mean 'carrier'?"]),
        ({"severity": {"SCHEMA_NEW_COLUM": "error"}}, ["SCHEMA_NEW_COLUM", "Did you mean 'SCHEMA_NEW_COLUMN'?"]),
        ({"skew": {"features": {"seat": 0.1}}}, ["data_validation.skew.features", "Did you mean 'seats'?"]),
        ({"serving": {"window": "2014"}}, ["There are no rows in the serving data", "2014"]),
        ({"severity": {"carrier": "fatal"}}, ["'data_validation.severity.carrier' is 'fatal'"]),
    ],
)
def test_wrong_settings_are_named(curated, spoil, words):
    curated.settings["data_validation"] |= spoil
    run = curated.run()
    assert run.code == 1
    for word in words:
        assert word in run.err
    assert "Traceback" not in run.err


def test_a_schema_that_is_none_is_told_with_its_line(curated):
    text = curated.schema.read_text()
    curated.schema.write_text(text.replace("presence {", "presense {", 1))
    line = curated.schema.read_text().splitlines().index("  presense {") + 1
    run = curated.run()
    assert run.code == 1
    assert "presense" in run.err.splitlines()[0]
    assert f"schema.pbtxt, line {line}" in run.err


def test_without_the_section_it_is_off(project):
    del project.settings["data_validation"]
    run = project.run()
    assert run.code == 1
    assert run.err.splitlines()[0] == "Data validation is switched off: there is no section data_validation"
