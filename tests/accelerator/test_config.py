"""mlops.yaml: what it may say, and that an error points at the place and the nearest right name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelerator.config import Config, load
from accelerator.errors import ConfigError, Place
from accelerator.windows import TimeRange

SKETCH = """\
project: my-project            # any name will do locally
region: us-central1
data:
  table: flights.departures    # BigQuery
  label: late
  time: scheduled_departure
  split: {train: "..2013-06", validation: "2013-07", test: "2013-08"}
model:
  name: late-arrival
  code: model.py
  requirements: requirements.txt
tuning: {metric: auc, goal: maximize, trials: 12, parallel: 2}
validation: {thresholds: {auc: 0.65}, slices: [carrier, month], beat: champion}
deployment: {machine: n1-standard-4, replicas: [1, 3], canary: 10}
batch_prediction: {schedule: "0 5 * * *", to: flights.predictions}
monitoring: {sample: 0.2, drift: 0.1, alert: [email:team@example.com]}
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str, **options) -> Config:
        (tmp_path / "mlops.yaml").write_text(text, encoding="utf-8")
        return load(tmp_path, **{"environment": {}, **options})

    return write


def refused(written, text: str, **options) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        written(text, **options)
    return caught.value


def test_every_section_of_the_design_is_read(written):
    config = written(SKETCH)
    assert config.data.table == "flights.departures"
    assert config.data.split.train == TimeRange(None, datetime(2013, 7, 1, tzinfo=UTC))
    assert config.data.split.validation == TimeRange(datetime(2013, 7, 1, tzinfo=UTC), datetime(2013, 8, 1, tzinfo=UTC))
    assert (config.tuning.metric, config.tuning.trials, config.tuning.parallel) == ("auc", 12, 2)
    assert config.validation.thresholds == {"auc": 0.65}
    assert config.deployment.replicas == (1, 3)
    assert config.batch_prediction.schedule == "0 5 * * *"
    assert config.monitoring.alert == ("email:team@example.com",)
    assert config.bucket_name == "my-project-mlops"
    assert config.place("data.label") == Place(str(config.path), 5, 10)


def test_the_sections_that_have_defaults_may_be_left_out(written):
    config = written("project: my-project\ndata: {label: late}\nmodel: {name: late}\n")
    assert config.tuning is None
    assert config.deployment.replicas == (1, 1)
    assert config.training.machine == "n1-standard-4"


@pytest.mark.parametrize(
    ("wrong", "right", "line", "column", "says", "advice"),
    [
        ("lable: late", "label: late", 5, 3, "Unknown key 'lable' in 'data'", "Did you mean 'label'?"),
        ("tunning:", "tuning:", 12, 1, "Unknown key 'tunning'", "Did you mean 'tuning'?"),
        ("goal: maximise", "goal: maximize", 12, 29, "maximise", "Did you mean 'maximize'?"),
        ("trials: a dozen", "trials: 12", 12, 47, "'tuning.trials' is 'a dozen'", ""),
        ('"2013-13"', '"2013-07"', 7, 43, "'2013-13' is no point in time", ""),
        ('"2013-06"', '"2013-07"', 7, 10, "overlap", ""),
        ("[3, 1]", "[1, 3]", 14, 48, "at least 3 replicas but at most 1", ""),
        ("[1]", "[1, 3]", 14, 48, "too few values", ""),
        ("canary: 120", "canary: 10", 14, 64, "less than or equal to 100", ""),
        ("daily", '"0 5 * * *"', 15, 30, "'daily' is no cron schedule", ""),
        ("region: here", "region: us-central1", 2, 9, "'here' is no region", ""),
        ("table: departures", "table: flights.departures", 4, 10, "no BigQuery table", ""),
        ("mail:team@example.com", "email:team@example.com", 16, 47, "no alert", ""),
    ],
)
def test_an_error_has_line_column_and_nearest_name(written, wrong, right, line, column, says, advice):
    assert right in SKETCH
    error = refused(written, SKETCH.replace(right, wrong))
    assert isinstance(error.place, Place)
    assert (error.place.line, error.place.column) == (line, column)
    assert says in error.headline
    assert advice in error.next_step
    assert "Traceback" not in str(error)


def test_all_errors_are_told_at_once(written):
    error = refused(written, SKETCH.replace("goal: maximize", "goal: up").replace("beat:", "bead:"))
    assert "2 errors" in error.headline
    assert "line 12" in error.headline
    assert "line 13" in error.headline
    assert "Did you mean 'beat'?" in error.headline


NETWORK = "projects/123456789012/global/networks/default"


def test_the_kinds_of_endpoints(written):
    def deployment(text: str):
        return written(SKETCH, overrides=[f"deployment={{{text}}}"]).deployment

    assert (deployment("").endpoint, deployment("endpoint: dedicated").endpoint) == ("shared", "dedicated")
    assert deployment(f"endpoint: private, network: {NETWORK}").network == NETWORK
    assert deployment("endpoint: private, project_allowlist: [a, b]").project_allowlist == ("a", "b")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("endpoint: public", "'deployment.endpoint' is 'public', which is none of 'shared', 'dedicated' or 'private'"),
        (f"network: {NETWORK}", "'network' is for private endpoints"),
        ("endpoint: dedicated, project_allowlist: [a]", "'project_allowlist' is for private endpoints"),
        ("endpoint: private", "a private endpoint is reached in one of two ways"),
        (f"endpoint: private, network: {NETWORK}, project_allowlist: [a]", "not both"),
        ("endpoint: private, network: default", "write projects/NUMBER/global/networks/NAME"),
        ("endpoint: private, network: projects/my-project/global/networks/x", "is no network"),
        (f"endpoint: private, network: {NETWORK}, canary: 10", "no traffic split: leave canary out, which is 10"),
    ],
)
def test_an_endpoint_is_of_one_kind(written, text, says):
    error = refused(written, SKETCH.replace("{machine: n1-standard-4, replicas: [1, 3], canary: 10}", f"{{{text}}}"))
    assert says in error.headline
    assert error.place.line == 14


def test_what_is_missing_is_named_with_its_section(written):
    error = refused(written, SKETCH.replace("  label: late\n", ""))
    assert error.headline == "'data.label' is missing"
    assert error.place.line == 3


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("project: [my", 1, "not YAML"),
        ("project: a\nproject: b\n", 2, "written twice"),
        ("- project", 1, "no sections"),
        ("project: &a {b: *a}\n", 1, ""),
    ],
)
def test_what_is_no_configuration_at_all(written, text, line, says):
    error = refused(written, text)
    assert says in error.headline
    assert error.place is None or error.place.line >= line


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"There is no mlops\.yaml here"):
        load(tmp_path, environment={})


def test_the_environment_wins_over_the_file_and_a_flag_over_both(written):
    environment = {"MLOPS_PROJECT": "from-environment", "MLOPS_REGION": "europe-west1"}
    config = written(SKETCH, environment=environment, overrides=["project=from-a-flag"])
    assert (config.project, config.region) == ("from-a-flag", "europe-west1")


def test_a_flag_sets_any_value(written):
    config = written(
        SKETCH,
        overrides=["data.split.train=2013-01..2013-03", "tuning.trials=3", "data.ignore=[month, flight]"],
    )
    assert str(config.data.split.train) == "2013-01-01T00:00:00Z..2013-04-01T00:00:00Z"
    assert config.tuning.trials == 3
    assert config.data.ignore == ("month", "flight")


def test_an_error_in_a_flag_names_the_flag(written):
    error = refused(written, SKETCH, overrides=["tuning.trials=none"])
    assert error.place == "--set tuning.trials"
    assert refused(written, SKETCH, overrides=["project"]).headline == "--set project sets nothing"


def test_a_label_among_the_features_is_refused(written):
    error = refused(written, SKETCH.replace("label: late", "label: late\n  features: [carrier, late]"))
    assert "would see the answer" in error.headline


def by(split: str) -> str:
    """A project without a time column, with a split of its own."""
    return f"project: my-project\ndata: {{label: late, split: {split}}}\nmodel: {{name: late}}\n"


def test_a_split_by_fractions(written):
    split = written(by('{train: 0.7, validation: "0.2", test: 0.1}')).data.split
    assert (split.train, split.validation, split.test) == (0.7, 0.2, 0.1)
    assert split.windows() == {}
    assert split.parts()["test"] == (0.9, 1.0)
    assert split.model_dump(exclude_none=True) == {"train": 0.7, "validation": 0.2, "test": 0.1}
    assert written(SKETCH).data.split.parts() == {}


@pytest.mark.parametrize(
    ("split", "says"),
    [
        (
            '{train: "..2013-06", validation: 0.2}',
            "train is a window (..2013-07-01T00:00:00Z) and validation a fraction",
        ),
        (
            "{train: 0.8, validation: 2013}",
            "validation is a window (2013-01-01T00:00:00Z..2014-01-01T00:00:00Z) and train",
        ),
        ("{train: 0.8, validation: 0.2, test: 0.1}", "train 0.8 + validation 0.2 + test 0.1 are more than 1"),
        ("{train: 80, validation: 20}", "80 is no fraction of the rows"),
        ("{train: 0.8, validation: 0}", "0 is no fraction of the rows"),
        ("{train: 0.8, validation: .nan}", "nan is no fraction of the rows"),
        ("{train: 0.8, validation: true}", "'True' is no point in time"),
        ('{train: "2013-06"}', "'time' names no column"),
    ],
)
def test_fractions_at_fault(written, split, says):
    error = refused(written, by(split))
    assert says in error.headline
    assert (error.place.line if isinstance(error.place, Place) else 2) == 2


def test_a_key_is_for_fractions(written):
    assert written(by("{train: 0.8, validation: 0.2}, key: customer")).data.key == "customer"
    assert "'key' is for fractions" in refused(written, SKETCH.replace("  time:", "  key: tail\n  time:")).headline
    assert "'key' is the label" in refused(written, by("{train: 0.8}, key: late")).headline


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2013", "2013-01-01", "2014-01-01"),
        ("2013-12", "2013-12-01", "2014-01-01"),
        ("2013-07-04", "2013-07-04", "2013-07-05"),
        ("2013-01..2013-06", "2013-01-01", "2013-07-01"),
        ("..2013-06", None, "2013-07-01"),
        ("2013-09..", "2013-09-01", None),
        ("2013-07-01T06:00..2013-07-01T12:00:00Z", "2013-07-01T06:00", "2013-07-01T12:00"),
        ("2013-07-01T00:00:00-04:00..2013-07-02", "2013-07-01T04:00", "2013-07-03"),
    ],
)
def test_a_window_is_half_open(text, start, end):
    def instant(side: str | None) -> datetime | None:
        return datetime.fromisoformat(side).replace(tzinfo=UTC) if side else None

    assert TimeRange.parse(text) == TimeRange(instant(start), instant(end))


@pytest.mark.parametrize("text", ["", "july", "2013-7", "2013-07-04T12:00", "2013-07..2013-06", "2013-00", "1..2"])
def test_what_is_no_window(text):
    with pytest.raises(ValueError, match=r"point in time|ends before|one instant"):
        TimeRange.parse(text)


instants = st.none() | st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)).map(lambda d: d.replace(tzinfo=UTC))


@given(instants, instants)
def test_a_window_reads_back_as_it_is_written(start, end):
    if start is not None and end is not None and start >= end:
        start, end = end, start + timedelta(days=1)
    window = TimeRange(start, end)
    assert TimeRange.parse(str(window)) == window


@given(st.lists(instants, min_size=4, max_size=4), instants)
def test_windows_that_share_an_instant_overlap(sides, moment):
    first, second = TimeRange(*sides[:2]), TimeRange(*sides[2:])
    if moment is not None and moment in first and moment in second:
        assert first.overlaps(second)
        assert second.overlaps(first)


def test_a_column_may_tell_the_split(written):
    assert written(by("{column: ml_use}")).data.split.column == "ml_use"
    with pytest.raises(ConfigError, match="leave train, validation and test out"):
        written(by("{column: ml_use, train: 0.8}"))
    with pytest.raises(ConfigError, match="nothing says which rows train"):
        written(by("{validation: 0.2}"))


def test_a_section_may_be_switched_off(written):
    config = written(by("{train: 0.8, validation: 0.2}"), overrides=["tuning=off", "deployment=off"])
    assert (config.tuning, config.deployment) == (None, None)
