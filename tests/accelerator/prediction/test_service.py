"""Requests to answers: outputs, sharing of model calls, and a team's Predictor in every shape."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from tests.accelerator.prediction.container import instances, save, table

from accelerator.errors import CodeError
from accelerator.prediction.artifact import open_artifact
from accelerator.prediction.failures import Failure
from accelerator.prediction.service import Service
from accelerator.prediction.tabular import Output


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    """Each test imports a `model.py` of its own, as each container does."""
    before = list(sys.path)
    yield
    sys.modules.pop("model", None)
    sys.path[:] = before


def load(folder: Path) -> Service:
    return Service.load(open_artifact(folder))


def ask(service: Service, *bodies: dict[str, Any]) -> list[Any]:
    """The predictions for each body, or its failure."""
    answers = service.answer([service.parse(json.dumps(body).encode()) for body in bodies])
    return [one if isinstance(one, Failure) else json.loads(one)["predictions"] for one in answers]


def test_scores_and_labels(artifact: Path, model: HistGradientBoostingClassifier) -> None:
    frame = table(5)
    scores, labels = ask(
        load(artifact),
        {"instances": instances(frame)},
        {"instances": instances(frame), "parameters": {"output": "label"}},
    )
    assert [one["classes"] for one in scores] == [[False, True]] * 5
    np.testing.assert_allclose([one["scores"] for one in scores], model.predict_proba(frame))
    assert labels == model.predict(frame).tolist()


def test_values_of_a_regressor(regression: Path) -> None:
    assert ask(load(regression), {"instances": [[1, 2], [3, 4]]}) == [pytest.approx([[4, 10]][0])]


def test_requests_that_share_a_call_get_their_own_answers(artifact: Path) -> None:
    service = load(artifact)
    rows = instances(table(30))
    alone = [ask(service, {"instances": [row]})[0] for row in rows]
    assert ask(service, *({"instances": [row]} for row in rows)) == alone
    arrays = [list(row.values()) for row in rows]
    mixed = ask(
        service,
        {"instances": rows[:10]},
        {"instances": arrays[10:11]},
        {"instances": [{**rows[0], "hour": "noon"}]},
        {"instances": rows[11:13], "parameters": {"unknown_features": "ignore"}},
        {"instances": rows[:1], "parameters": {"output": "all"}},
    )
    assert [mixed[0], mixed[1], mixed[3]] == [
        [one for answer in alone[:10] for one in answer],
        alone[10],
        alone[11] + alone[12],
    ]
    assert "instances[0].hour" in mixed[2].message
    assert mixed[4].message == 'parameters.output: expected scores or label, got the string "all".'


def test_a_model_call_is_shared(artifact: Path) -> None:
    service = load(artifact)
    calls = []
    predictor = service._predictor
    call = predictor.call_model
    predictor.call_model = lambda frame, output: calls.append(len(frame)) or call(frame, output)  # type: ignore[method-assign]
    bodies = [{"instances": instances(table(3))} for _ in range(4)]
    ask(service, *bodies)
    assert calls == [12]
    calls.clear()
    assert ask(service, *bodies, {"instances": [[]]})[4].http == 400  # which costs the others nothing
    assert calls == [12]


def test_an_instance_that_the_model_cannot_take_costs_the_others_few_calls(artifact: Path) -> None:
    service = load(artifact)
    calls = []
    predictor = service._predictor
    call = predictor.call_model

    def picky(frame: pd.DataFrame, output: Output) -> Any:
        calls.append(len(frame))
        if (frame["wind"] == 99).any():
            raise ArithmeticError("too windy")
        return call(frame, output)

    predictor.call_model = picky  # type: ignore[method-assign]
    rows = instances(table(64))
    rows[20]["wind"] = 99
    answers = ask(service, *({"instances": [row]} for row in rows))
    assert [index for index, answer in enumerate(answers) if isinstance(answer, Failure)] == [20]
    assert answers[20].message == "The model raised ArithmeticError: too windy"
    assert len(calls) == 13


@pytest.mark.filterwarnings("ignore:overflow")
def test_nan_is_an_error_that_names_the_instance(regression: Path, tmp_path: Path) -> None:
    broken = LinearRegression()
    original = joblib.load(regression / "model.joblib")
    broken.__dict__ = {**original.__dict__, "coef_": np.array([1e308, 1e308])}
    joblib.dump(broken, tmp_path / "model.joblib")
    (tmp_path / "model.json").write_bytes((regression / "model.json").read_bytes())
    good, bad = ask(load(tmp_path), {"instances": [[0, 0]]}, {"instances": [[0, 0], [10, 10]]})
    assert good == [original.intercept_]
    assert (bad.http, "instances[1]" in bad.message) == (500, True)


def test_an_artifact_without_signature_answers_like_a_prebuilt_container(
    model: HistGradientBoostingClassifier, tmp_path: Path
) -> None:
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]), tmp_path / "model.joblib")
    assert ask(load(tmp_path), {"instances": [[3], [4]]}) == [pytest.approx([6, 8])]


def predictor(tmp_path: Path, model: HistGradientBoostingClassifier, code: str) -> Service:
    """A service with a team's Predictor."""
    return load(save(tmp_path, model, code))


def test_a_predictor_that_defines_all_four(tmp_path: Path, model: HistGradientBoostingClassifier) -> None:
    service = predictor(
        tmp_path,
        model,
        """
class Predictor:
    def load(self, artifacts_uri): self.uri = artifacts_uri
    def preprocess(self, prediction_input):
        by = prediction_input["parameters"]["by"]
        return [x * by for x in prediction_input["instances"]]
    def predict(self, instances): return [x + 1 for x in instances]
    def postprocess(self, prediction_results): return {"predictions": prediction_results, "from": self.uri}
""",
    )
    (answer,) = service.answer([service.parse(b'{"instances": [1, 2], "parameters": {"by": 10}}')])
    assert isinstance(answer, bytes)
    assert json.loads(answer) == {"predictions": [11, 21], "from": str(tmp_path)}
    assert not service.batches


def test_a_predictor_with_postprocess_alone_gets_scores(tmp_path: Path, model: HistGradientBoostingClassifier) -> None:
    service = predictor(
        tmp_path,
        model,
        """
from accelerator.contract import Predictor as Base

class Predictor(Base):
    def postprocess(self, prediction_results):
        return {"predictions": [{"late": bool(score > 0.3)} for score in prediction_results[:, 1]]}
""",
    )
    frame = table(4)
    expected = [{"late": bool(score > 0.3)} for score in model.predict_proba(frame)[:, 1]]
    assert ask(service, {"instances": instances(frame), "parameters": {"any": 1}}) == [expected]
    assert service.batches


def test_a_predictor_with_predict_alone_gets_the_frame_and_the_model(
    tmp_path: Path, model: HistGradientBoostingClassifier
) -> None:
    service = predictor(
        tmp_path,
        model,
        """
class Predictor:
    def predict(self, instances):
        return self.model.predict(instances[list(self.model.feature_names_in_)]).astype(int)
""",
    )
    frame = table(4)
    assert ask(service, {"instances": instances(frame)}) == [model.predict(frame).astype(int).tolist()]
    assert ask(service, {"instances": [{}]})[0].http == 400


def test_a_predictor_with_a_base_class_of_another_library(
    tmp_path: Path, model: HistGradientBoostingClassifier
) -> None:
    code = """
import abc, joblib

class Routine(abc.ABC):  # has the form of google.cloud.aiplatform.prediction.predictor.Predictor
    @abc.abstractmethod
    def load(self, artifacts_uri, **kwargs): ...
    def preprocess(self, prediction_input): return prediction_input["instances"]
    @abc.abstractmethod
    def predict(self, instances): ...
    def postprocess(self, prediction_results): return {"predictions": prediction_results}

class Predictor(Routine):
    def __init__(self): return
    def load(self, artifacts_uri): self._model = joblib.load(artifacts_uri + "/model.joblib")
    def predict(self, instances): return [self._model.n_features_in_ + x for x in instances]
"""
    assert ask(predictor(tmp_path, model, code), {"instances": [1, 2]}) == [[6, 7]]


@pytest.mark.parametrize(
    ("body", "http", "message"),
    [
        ("def predict(self, x): return {}['x']", 500, "The model raised KeyError: 'x' (model.py, line 4)"),
        ("def preprocess(self, x): raise ValueError('no wind')", 400, "The instances were refused: no wind"),
        ("def postprocess(self, x): return {'predictions': [float('nan')]}", 500, "cannot be sent as JSON"),
        ("def postprocess(self, x): return {'predictions': [object()]}", 500, "a object is no JSON value"),
        ("def predict(self, x): raise Refused()", 422, "not today"),
    ],
)
def test_a_predictor_that_fails(
    tmp_path: Path, model: HistGradientBoostingClassifier, body: str, http: int, message: str
) -> None:
    code = f"""class Refused(Exception): status_code, detail = 422, "not today"

class Predictor:
    {body}
"""
    (failure,) = ask(predictor(tmp_path, model, code), {"instances": instances(table(1))})
    assert (failure.http, message in failure.message) == (http, True), failure.message


def test_a_predictor_may_return_numpy(tmp_path: Path, model: HistGradientBoostingClassifier) -> None:
    code = """
import numpy as np
class Predictor:
    def postprocess(self, x): return {"predictions": [{"a": np.float32(1), "b": np.arange(2)}]}
"""
    assert ask(predictor(tmp_path, model, code), {"instances": instances(table(1))}) == [[{"a": 1.0, "b": [0, 1]}]]


@pytest.mark.parametrize("method", ["__init__(self)", "load(self, artifacts_uri)"])
def test_a_predictor_that_does_not_load(tmp_path: Path, model: HistGradientBoostingClassifier, method: str) -> None:
    with pytest.raises(CodeError, match="raised RuntimeError: no"):
        predictor(tmp_path, model, f"class Predictor:\n    def {method}: raise RuntimeError('no')\n")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The body is not JSON"),
        (b'{"instances": [NaN]}', "The body is not JSON"),
        (b"[]", "must be an object with instances"),
        (b"{}", "must be an object with instances"),
        (b'{"instances": {}}', "must be an array, not dict"),
        (b'{"instances": []}', "instances is empty"),
        (b'{"instances": [1], "parameters": 3}', "parameters must be an object"),
    ],
)
def test_a_body_of_another_form(artifact: Path, body: bytes, message: str) -> None:
    with pytest.raises(Failure, match=message) as caught:
        load(artifact).parse(body)
    assert caught.value.http == 400
