"""A container that cannot serve: exit code 1, one message with what to do, no stack trace."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from tests.accelerator.prediction.container import PATIENCE, Container, save

Start = Callable[..., Container]


def last_words(container: Container) -> str:
    """The one error of a container that does not start."""
    assert container.process.wait(PATIENCE) == 1
    errors = [entry for entry in container.log() if entry["severity"] == "ERROR"]
    assert len(errors) == 1
    assert "Traceback" not in container.output.read_text()
    assert "\n  next: " in errors[0]["message"]
    message: str = errors[0]["message"]
    return message


def test_no_folder(start: Start, tmp_path: Path) -> None:
    message = last_words(start(tmp_path / "nowhere"))
    assert message.startswith("The folder of the model is not there\n  at:   ")
    assert "nowhere" in message


def test_one_of_several_workers_tells(start: Start, tmp_path: Path) -> None:
    assert "The folder of the model is not there" in last_words(start(tmp_path / "nowhere", WEB_CONCURRENCY="3"))


def test_no_storage_uri(start: Start) -> None:
    assert "AIP_STORAGE_URI is empty" in last_words(start(Path(), AIP_STORAGE_URI=""))


def test_no_model_file(start: Start, tmp_path: Path, model: HistGradientBoostingClassifier) -> None:
    (save(tmp_path, model) / "model.joblib").unlink()
    assert "The model file model.joblib is missing: the artifact has model.json" in last_words(start(tmp_path))


def test_a_model_file_that_is_none(start: Start, tmp_path: Path, model: HistGradientBoostingClassifier) -> None:
    (save(tmp_path, model) / "model.joblib").write_bytes(b"nothing")
    assert "model.joblib does not load" in last_words(start(tmp_path))


@pytest.mark.parametrize(
    ("code", "headline", "line"),
    [
        ("import nothing_of_this_name", "model.py imports nothing_of_this_name, which is not installed", 1),
        ("x = 1\ny = x +\n", "model.py does not import: SyntaxError", 2),
        ("x = 1\n\nx['a']\n", "model.py does not import: TypeError", 3),
        ("Predictor = 3", "Predictor must be a class, not a int", None),
    ],
)
def test_code_that_does_not_import(
    start: Start,
    tmp_path: Path,
    model: HistGradientBoostingClassifier,
    code: str,
    headline: str,
    line: int | None,
) -> None:
    message = last_words(start(save(tmp_path, model, code)))
    assert message.startswith(headline)
    assert "model.py" in message.splitlines()[1]
    assert line is None or message.splitlines()[1].endswith(f"model.py, line {line}")


def test_code_that_ends_the_process(start: Start, tmp_path: Path, model: HistGradientBoostingClassifier) -> None:
    code = "class Predictor:\n    def load(self, artifacts_uri):\n        raise SystemExit(0)\n"
    message = last_words(start(save(tmp_path, model, code)))
    assert message.startswith("Predictor.load raised SystemExit: 0\n  at:   ")
    assert message.splitlines()[1].endswith("model.py, line 3")


def test_a_signature_of_another_model(start: Start, tmp_path: Path, model: HistGradientBoostingClassifier) -> None:
    save(tmp_path, model)
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]), tmp_path / "model.joblib")
    message = last_words(start(tmp_path))
    assert "not the model that model.json describes: the model takes 1 features, the signature names 5" in message


def test_features_of_other_names(start: Start, tmp_path: Path, model: HistGradientBoostingClassifier) -> None:
    path = save(tmp_path, model) / "model.json"
    path.write_text(path.read_text().replace('"wind"', '"gust"'))
    assert "the features of the two differ in gust, wind" in last_words(start(tmp_path))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "task": "regression"}'])
def test_a_signature_that_is_none(
    start: Start, tmp_path: Path, model: HistGradientBoostingClassifier, content: str
) -> None:
    (save(tmp_path, model) / "model.json").write_text(content)
    assert "The model's signature cannot be read" in last_words(start(tmp_path))


def test_code_that_the_image_was_told_of_is_not_there(start: Start, artifact: Path) -> None:
    assert "The prediction code is not there" in last_words(start(artifact, MLOPS_CODE="/nowhere/model.py"))


def test_a_port_that_is_taken(start: Start, artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = last_words(start(artifact, AIP_HTTP_PORT=str(port)))
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in message


@pytest.mark.parametrize(
    ("name", "value"), [("AIP_HTTP_PORT", "http"), ("WEB_CONCURRENCY", "0"), ("AIP_PREDICT_ROUTE", "predict")]
)
def test_a_setting_that_is_wrong(start: Start, artifact: Path, name: str, value: str) -> None:
    message = last_words(start(artifact, **{name: value}))
    assert name in message
    assert repr(value) in message


def test_debug_shows_the_stack(start: Start, tmp_path: Path, model: HistGradientBoostingClassifier) -> None:
    found = start(save(tmp_path, model, "x = {}['a']"), MLOPS_DEBUG="1")
    assert found.process.wait(PATIENCE) == 1
    assert "Traceback" in json.loads(found.output.read_text().splitlines()[-1])["stack_trace"]
