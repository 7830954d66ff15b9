"""What is read out of the file that a trial writes, whatever stands in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.vertex.tuning.reports import Reports, _reports


def line(step: int, when: float = 0.0, **metrics: float) -> str:
    """As cloudml-hypertune writes it: values are text."""
    values = {name: str(value) for name, value in metrics.items()}
    return json.dumps({"timestamp": 1000.0 + when, "trial": "1", "global_step": str(step), **values})


def reports(path: Path, *metrics: str) -> Reports:
    return Reports(path, metrics or ("auc",), Timestamp(seconds=1000))


def seen(found: Reports) -> list[Any]:
    return [(m.step_count, {one.metric_id: one.value for one in m.metrics}) for m in found.measurements()]


def test_what_has_scrolled_out_of_the_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "output.metrics"
    found = reports(path)
    assert not found.read(), "there is no file yet"
    path.write_text(line(1, auc=0.5) + "\n" + line(2, 1.5, auc=0.6) + "\n" + line(3, auc=0.7)[:-9])
    assert found.read()
    assert seen(found) == [(1, {"auc": 0.5}), (2, {"auc": 0.6})], "the third is not written to its end"
    assert found.measurements()[1].elapsed_duration.ToMilliseconds() == 1500
    assert not found.read()
    path.write_text(line(3, auc=0.7) + "\n" + line(4, auc=0.65) + "\n")
    assert found.read()
    assert [step for step, _ in seen(found)] == [1, 2, 3, 4]


def test_metrics_of_a_step_come_together_and_one_reported_again_is_a_further_measurement(tmp_path: Path) -> None:
    path = tmp_path / "output.metrics"
    lines = [line(0, 1, auc=0.5), line(0, 2, loss=2.0), line(0, 3, auc=0.6), line(0, 4, loss=1.0), line(0, 5, other=1)]
    path.write_text("\n".join(lines) + "\n")
    found = reports(path, "auc", "loss")
    found.read()
    assert seen(found) == [(0, {"auc": 0.5, "loss": 2.0}), (0, {"auc": 0.6, "loss": 1.0})]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "without reporting the metric `auc`."),
        ([line(0, accuracy=0.5)], "`auc`; it reported `accuracy`"),
        ([line(0, auc=float("nan"))], "reported nan for the metric `auc`"),
    ],
)
def test_why_there_is_no_measurement(tmp_path: Path, lines: list[str], words: str) -> None:
    path = tmp_path / "output.metrics"
    path.write_text("\n".join(lines))
    found = reports(path)
    found.read()
    assert found.measurements() == []
    assert words in found.why_nothing()


@given(st.text() | st.lists(st.none() | st.floats() | st.text()).map(json.dumps))
@settings(max_examples=50, deadline=None)
def test_nonsense_is_passed_over(text: str) -> None:
    assert _reports(text) == []
