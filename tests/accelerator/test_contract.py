"""Plugged-in code: what is taken, and what is said of code that cannot be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accelerator.contract import Categorical, Discrete, Double, Integer, load_plugin
from accelerator.errors import CodeError


@pytest.fixture(autouse=True)
def _own_modules() -> Iterator[None]:
    """Each test imports a `model.py` of its own."""
    before = list(sys.path)
    yield
    for name in ("model", "beside", "other"):
        sys.modules.pop(name, None)
    sys.path[:] = before


def write(folder: Path, code: str, name: str = "model.py") -> Path:
    path = folder / name
    path.write_text(code)
    return path


def test_everything_at_once(tmp_path: Path) -> None:
    write(tmp_path, "value = 7", "beside.py")
    code = """
from accelerator.contract import Categorical, Discrete, Double, Integer
from beside import value

search_space = {
    "rate": Double(0.01, 0.3, scale="log"),
    "leaves": Integer(8, 64),
    "bins": Discrete([64, 255]),
    "loss": Categorical(["a", "b"]),
}

def train(train, validation, rate, leaves, bins, loss, seed=0):
    return value, {"auc": rate}

class Predictor:
    pass
"""
    plugin = load_plugin(write(tmp_path, code))
    assert plugin.search_space == {
        "rate": Double(0.01, 0.3, "log"),
        "leaves": Integer(8, 64),
        "bins": Discrete([64, 255]),
        "loss": Categorical(["a", "b"]),
    }
    assert plugin.trainer()(None, None, rate=0.1, leaves=8, bins=64, loss="a") == (7, {"auc": 0.1})
    assert plugin.predictor is plugin.module.Predictor
    assert load_plugin(tmp_path / "model.py").module is plugin.module


def test_the_base_class_alone_is_no_predictor(tmp_path: Path) -> None:
    assert load_plugin(write(tmp_path, "from accelerator.contract import Predictor")).predictor is None


def test_a_hyperparameter_that_is_not_searched_may_come_from_elsewhere(tmp_path: Path) -> None:
    assert load_plugin(write(tmp_path, "def train(train, validation, rate): pass")).train is not None


@pytest.mark.parametrize(
    ("code", "headline", "line"),
    [
        ("import absent_library", "model.py imports absent_library, which is not installed", 1),
        ("from beside import x", "model.py does not import: ZeroDivisionError", None),
        ("x =", "model.py does not import: SyntaxError", 1),
        ("\n\nraise SystemExit(2)", "model.py does not import: SystemExit: 2", 3),
        ("train = 3", "train must be a function, not a int", None),
        ("def train(data): pass", "train does not take what it is called with", 1),
        ("search_space = 3", "search_space must be a dict, not a int", None),
        ("search_space = {'a': (0, 1)}", "search_space['a'] must be a Double, Integer", None),
        (
            "from accelerator.contract import *\nsearch_space = {'a': Integer(1, 2)}\ndef train(t, v, b): pass",
            "train does not take what it is called with: got an unexpected keyword argument 'a'",
            3,
        ),
        (
            "from accelerator.contract import *\nsearch_space = {'a': Double(0, 1, 'log')}",
            "model.py does not import: ValueError: a log scale needs a minimum above 0",
            2,
        ),
        (
            "from accelerator.contract import *\nsearch_space = {'a': Integer(5, 1)}",
            "model.py does not import: ValueError: the minimum 5 is greater than the maximum 1",
            2,
        ),
        (
            "from accelerator.contract import *\nsearch_space = {'a': Discrete([1, 'x'])}",
            "model.py does not import: ValueError: Discrete takes numbers, not 'x'",
            2,
        ),
        (
            "from accelerator.contract import *\nsearch_space = {'a': Discrete([0, 1], 'log')}",
            "model.py does not import: ValueError: a log scale needs a minimum above 0",
            2,
        ),
        (
            "from accelerator.contract import *\nsearch_space = {'a': Categorical('tree')}",
            "model.py does not import: ValueError: Categorical needs a list of at least one value, not 'tree'",
            2,
        ),
        (
            "from accelerator.contract import *\nsearch_space = {'a': Categorical(['tree', 'tree'])}",
            "model.py does not import: ValueError: Categorical has a value twice",
            2,
        ),
    ],
)
def test_code_at_fault(tmp_path: Path, code: str, headline: str, line: int | None) -> None:
    write(tmp_path, "1 / 0", "beside.py")
    with pytest.raises(CodeError) as caught:
        load_plugin(write(tmp_path, code))
    assert caught.value.headline.startswith(headline)
    assert caught.value.next_step
    assert line is None or getattr(caught.value.place, "line", None) == line


def test_the_line_at_fault_is_in_the_file_at_fault(tmp_path: Path) -> None:
    write(tmp_path, "\n1 / 0", "beside.py")
    with pytest.raises(CodeError) as caught:
        load_plugin(write(tmp_path, "import beside"))
    assert str(caught.value.place).endswith("beside.py, line 2")


def test_a_file_that_is_not_there_or_hides_another(tmp_path: Path) -> None:
    with pytest.raises(CodeError, match="not there"):
        load_plugin(tmp_path / "model.py")
    with pytest.raises(CodeError, match=r"json\.py hides the module json"):
        load_plugin(write(tmp_path, "", "json.py"))
    with pytest.raises(CodeError, match="is not a Python file"):
        load_plugin(write(tmp_path, "", "other.txt"))


def test_no_train(tmp_path: Path) -> None:
    with pytest.raises(CodeError, match="defines no function named train"):
        load_plugin(write(tmp_path, "")).trainer()


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"depth": Integer(1, 3, when={"kind": ["a"]})}, "names 'kind', which is not in search_space"),
        ({"kind": Categorical(["a"]), "depth": Integer(1, 3, when={"kind": ["b"]})}, "'kind' is never 'b'"),
        ({"kind": Double(0, 1), "depth": Integer(1, 3, when={"kind": [0.5]})}, "is a Double"),
        ({"kind": Categorical(["a"]), "depth": Integer(1, 3, when={"kind": []})}, "lists no values"),
        (
            {"a": Integer(1, 3, when={"b": [1]}), "b": Integer(1, 3, when={"a": [1]})},
            "depend on itself",
        ),
        (
            {"a": Integer(1, 3), "b": Integer(1, 3), "c": Integer(1, 3, when={"a": [1], "b": [1]})},
            "names 2 parameters",
        ),
    ],
)
def test_a_condition_that_cannot_hold_is_named(tmp_path: Path, space: dict[str, Any], words: str) -> None:
    code = tmp_path / "other.py"
    code.write_text(f"from accelerator.contract import *\nsearch_space = {space!r}\n")
    with pytest.raises(CodeError) as raised:
        load_plugin(code)
    assert words in raised.value.headline


def test_a_parameter_under_a_condition_needs_a_default(tmp_path: Path) -> None:
    code = tmp_path / "other.py"
    code.write_text(
        "from accelerator.contract import *\n"
        "search_space = {'kind': Categorical(['a']), 'depth': Integer(1, 3, when={'kind': ['a']})}\n"
        "def train(train, validation, kind, depth): ...\n"
    )
    with pytest.raises(CodeError, match="no default"):
        load_plugin(code)
