"""Every fault ends the container with exit code 1 and one clear message: what, where in the user's files, what next."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from accelerator.errors import CodeError, ConfigError
from accelerator.training.arguments import hyperparameters, split
from accelerator.training.metrics import check

GOOD_END = "\n    return Model(), {'auc': 0.5}\n"
HEAD = "class Model:\n    def predict(self, features):\n        return [0]\n\ndef train(train, validation"

CODE = {
    "an import that is not there": (
        "import pandas\nimport no_such_package\n",
        "model.py imports no_such_package, which is not installed",
        2,
    ),
    "a syntax error": ("def train(train, validation)\n    pass\n", "model.py does not import: SyntaxError", 1),
    "code that fails as it is imported": (
        "limits = {}\n\n\nlimit = limits['rows']\n",
        "model.py does not import: KeyError: 'rows'",
        4,
    ),
    "no train": ("search_space = {}\n", "model.py defines no function named train", None),
    "a search space that train does not take": (
        "from accelerator.contract import Double\nsearch_space = {'rate': Double(0, 1)}\n" + HEAD + "):" + GOOD_END,
        "train does not take what it is called with",
        7,
    ),
    "a hyperparameter that nothing gives": (HEAD + ", rate):" + GOOD_END, "Nothing gives train a value for rate", None),
    "a trainer that raises": (
        HEAD + "):\n    shares = train.label.mean()\n    raise ValueError('no carrier flies')\n",
        "train raised ValueError: no carrier flies",
        7,
    ),
    "a column that is not among the features": (
        HEAD + "):\n    train.features['carier']\n",
        "train raised KeyError: 'carier'",
        6,
    ),
    "a trainer that exits": ("import sys\n" + HEAD + "):\n    sys.exit(0)\n", "train ended the process itself", 7),
    "a trainer that returns the model alone": (HEAD + "):\n    return Model()\n", "not (model, metrics)", None),
    "a model that cannot predict": (HEAD + "):\n    return 1, {'auc': 1}\n", "a int, has no predict", None),
    "a metric that is no number": (HEAD + "):\n    return Model(), {'auc': float('nan')}\n", "'auc' is nan", None),
    "a model that cannot be saved": (
        HEAD + "):\n    class Local(Model):\n        pass\n    return Local(), {'auc': 1}\n",
        "cannot be saved",
        None,
    ),
}


def last_message(run) -> list[str]:
    """The headline, place and next step that the log ends with; nothing of ours may stand in it."""
    assert run.code == 1
    assert "src/accelerator/training" not in run.err
    lines = run.err.rstrip("\n").split("\n")
    assert lines[-1].startswith("  next: ")
    assert lines[-2].startswith("  at:   ")
    return lines[-3:]


@pytest.mark.parametrize("case", CODE)
def test_code_at_fault(project, case):
    text, says, line = CODE[case]
    project.code(text)
    run = project.run()
    headline, place, _ = last_message(run)
    assert says in headline
    assert "model.py" in place
    if line is not None:
        assert place.endswith(f"model.py, line {line}")
    assert not (project.model_dir / "model.json").exists()


def test_the_stack_of_the_users_code_is_kept_and_ours_is_not(project):
    project.code("def deeper(rows):\n    return rows / 0\n", "helpers.py")
    project.code("import helpers\n" + HEAD + "):\n    helpers.deeper(1)\n")
    run = project.run()
    assert re.findall(r"File .*/(\w+\.py)", run.err) == ["model.py", "helpers.py"]
    assert "return rows / 0" in run.err
    assert last_message(run)[1].endswith("helpers.py, line 2")


def settings(path: str, value):
    """A change to one setting of mlops.yaml."""

    def change(project) -> None:
        *sections, key = path.split(".")
        place = project.settings
        for section in sections:
            place = place[section]
        place[key] = value

    return change


DATA = {
    "no such file": (settings("data.files", ["other.parquet"]), "no data files", "other.parquet"),
    "no parquet": (lambda p: (p.folder / "rows.parquet").write_text("a,b\n1,2\n"), "cannot be read", "rows.parquet"),
    "an unknown format": (settings("data.files", ["model.py"]), "no known format", "model.py"),
    "no such label": (settings("data.label", "latte"), "no column 'latte'", "mlops.yaml, line"),
    "no such time": (settings("data.time", "tine"), "no time column 'tine'", "rows.parquet"),
    "a number for a time": (settings("data.time", "hour"), "'hour' is of type int64", "rows.parquet"),
    "text that is no time": (settings("data.time", "carrier"), "cannot be read", "rows.parquet"),
    "an empty window": (settings("data.split.train", "..2012"), "no rows in the train split", "rows.parquet"),
    "nothing to validate on": (settings("data.split", {"train": "..2013-06"}), "no rows to validate on", "mlops.yaml"),
    "one label everywhere": (lambda p: p.rows(late=pa.array([True] * 600)), "'late' is True in every row", "rows"),
    "no label anywhere": (lambda p: p.rows(late=pa.nulls(600, pa.bool_())), "none of its 400 rows has a label", "rows"),
    "a column of lists": (lambda p: p.rows(gust=pa.array([[1.0]] * 600)), "which no model takes", "mlops.yaml"),
    "no features": (settings("data.ignore", ["carrier", "hour", "gust"]), "no columns to learn from", "mlops.yaml"),
}


@pytest.mark.parametrize("case", DATA)
def test_data_at_fault(project, case):
    spoil, says, where = DATA[case]
    spoil(project)
    headline, place, _ = last_message(project.run())
    assert says in headline
    assert where in place


def test_the_nearest_column_is_named(project):
    project.settings["data"]["ignore"] = ["gusts"]
    assert "Did you mean 'gust'?" in last_message(project.run())[2]


def test_code_is_looked_at_before_data(project):
    project.settings["data"]["files"] = ["other.parquet"]
    project.code("import no_such_package\n")
    assert "no_such_package" in last_message(project.run())[0]


def test_a_model_folder_that_cannot_be_is_told_before_training(project):
    project.folder.joinpath("file").write_text("")
    run = project.run(AIP_MODEL_DIR=str(project.folder / "file"))
    assert "exists" in last_message(run)[0]
    assert "AIP_MODEL_DIR is not set" in last_message(project.run(AIP_MODEL_DIR=None))[0]


@pytest.mark.parametrize(
    ("arguments", "says", "advice"),
    [
        (["--smothing", "1"], "takes no hyperparameter 'smothing'", "Did you mean 'smoothing'?"),
        (["--power", "many"], "'power' cannot be 'many'", "type"),
        (["--power"], "--power has no value", ""),
        (["power", "2"], "Unexpected argument 'power'", ""),
        (["--config", "none.yaml"], "There is no none.yaml here", "mlops init"),
        (["--set", "data.lable=late"], "Unknown key 'lable'", ""),
    ],
)
def test_a_command_line_at_fault(project, arguments, says, advice):
    run = project.run(*arguments)
    assert run.code == 1
    assert says in run.err.splitlines()[0]
    assert advice in run.err
    assert "Traceback" not in run.err


def test_the_metric_that_tuning_needs_must_be_there():
    with pytest.raises(CodeError, match=r"no metric 'auc'[\s\S]*Did you mean 'auc_pr'"):
        check({"auc_pr": 1}, "model.py", "auc")


def example(
    train, validation, rate, depth: int, kind="gbdt", *, quiet: bool = False, seed=0, checkpoint=None, share=None
):
    """Only for its signature."""


def test_hyperparameters_get_the_types_of_the_search_space_or_the_signature():
    from accelerator.contract import Categorical, Discrete, Double, Integer

    space = {
        "rate": Double(0, 1),
        "depth": Integer(1, 9),
        "kind": Categorical(["gbdt", "dart"]),
        "share": Discrete([0.5, 1]),
    }
    flags = ["--rate=-1e-1", "--depth", "8.0", "--kind", "dart", "--share", "1.0", "--quiet=TRUE"]
    found = hyperparameters(example, space, flags, {"rate": 0.5}, "model.py")
    assert found == {"rate": -0.1, "depth": 8, "kind": "dart", "share": 1, "quiet": True}
    assert isinstance(found["depth"], int)
    assert isinstance(found["share"], int)
    assert hyperparameters(example, {}, ["--rate", "0.5", "--depth=3"], {}, "model.py") == {"rate": 0.5, "depth": 3}
    for flag, says in {
        "--depth=2.5": "no whole number",
        "--kind=forest": "none of gbdt, dart",
        "--share=0.7": "none of 0.5, 1",
        "--seed=3": "takes no hyperparameter 'seed'",
    }.items():
        with pytest.raises(ConfigError, match=says):
            hyperparameters(example, space, ["--rate=1", "--depth=1", flag], {}, "model.py")


def test_the_containers_own_flags_are_taken_out_in_any_form():
    found = split(["--a", "1", "--set", "x.y=1", "--config=c.yaml", "--set=z=2", "--b=3"])
    assert (found.config, found.overrides, found.rest) == ("c.yaml", ["x.y=1", "z=2"], ["--a", "1", "--b=3"])
