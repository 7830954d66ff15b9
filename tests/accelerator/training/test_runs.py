"""The training container from its command line to the artifact, on files; every run is a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from accelerator.signature import Signature

SCRIPT = '''
import argparse, json, os, sys

def train(arguments):
    """A function of the script's own: no reason to take the file for plugged-in code."""
    return arguments.learning_rate * 2

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning_rate", type=float, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()
    folder = os.environ["AIP_MODEL_DIR"]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "model.pkl"), "w") as file:
        json.dump([train(arguments), arguments.epochs, os.getcwd()], file)
    sys.exit(3 if arguments.epochs == 13 else 0)
'''

EPOCHS = """
import os, sys, time
class Model:
    def predict(self, features):
        return [0] * len(features)

def train(train, validation, checkpoint):
    epoch = checkpoint.state or 0
    print("from epoch", epoch, flush=True)
    while epoch < 5 and "ENDLESS" not in os.environ or "ENDLESS" in os.environ and epoch < 10**9:
        epoch += 1
        time.sleep(0.01)
        checkpoint.save(epoch)
    return Model(), {"epochs": epoch}
"""


def test_a_run_leaves_a_complete_artifact(project):
    project.code("shared = 1\n", "helpers/__init__.py")
    run = project.run("--smoothing=0.5", "--power", "3")
    assert (run.code, run.err) == (0, "")
    assert run.metrics["power"] == 3
    assert run.metrics["accuracy"] > 0.8
    assert "train: 400 rows, 3 features from rows.parquet" in run.out
    assert {path.relative_to(project.model_dir).as_posix() for path in project.model_dir.rglob("*.*")} == {
        "model.joblib", "model.json", "metrics.json", "training.json", "code/model.py", "code/helpers/__init__.py",
    }  # fmt: skip
    assert json.loads((project.model_dir / "metrics.json").read_text()) == run.metrics
    record = json.loads((project.model_dir / "training.json").read_text())
    assert record["hyperparameters"] == {"smoothing": 0.5, "power": 3}
    assert record["data"]["train"]["rows"] == 400
    signature = Signature.read(project.model_dir)
    assert signature.task == "classification"
    assert [(f.name, f.type, f.dtype, f.nullable) for f in signature.features] == [
        ("carrier", "category", "category", False),
        ("hour", "integer", "int64", False),
        ("gust", "number", "float64", True),
    ]
    assert signature.features[0].categories == ("AA", "B6", "UA")
    assert signature.code == "code/model.py"


def test_a_file_uri_and_a_second_run_over_the_first(project):
    project.settings["data"]["files"] = [f"file://{project.folder}/rows.*"]
    first = project.run(AIP_MODEL_DIR=f"file://{project.model_dir}")
    second = project.run(AIP_MODEL_DIR=f"file://{project.model_dir}")
    assert first.code == second.code == 0
    assert first.metrics == second.metrics


def test_a_managed_dataset_in_csv_shards(project, tmp_path):
    rows = pa.parquet.read_table(project.folder / "rows.parquet").drop_columns("time")
    for name in ("training", "validation"):
        for shard in range(2):
            pa.csv.write_csv(rows.slice(shard * 300, 300), tmp_path / f"{name}-0000{shard}-of-00002.csv")
    del project.settings["data"]["split"], project.settings["data"]["time"], project.settings["data"]["files"]
    run = project.run(
        AIP_DATA_FORMAT="csv",
        AIP_TRAINING_DATA_URI=f"{tmp_path}/training-*",
        AIP_VALIDATION_DATA_URI=f"{tmp_path}/validation-*",
        AIP_TEST_DATA_URI=f"{tmp_path}/test-*",
    )
    assert (run.code, run.err) == (0, "")
    assert "train: 600 rows" in run.out


def test_json_lines(project, tmp_path):
    frame = pa.parquet.read_table(project.folder / "rows.parquet").to_pandas()
    frame.to_json(project.folder / "rows.jsonl", orient="records", lines=True, date_format="iso")
    project.settings["data"]["files"] = ["rows.jsonl"]
    run = project.run()
    assert (run.code, run.err) == (0, "")
    assert "train: 400 rows" in run.out


def test_a_trial_reports_where_tuning_reads(project, tmp_path):
    file = tmp_path / "hypertune" / "output.metrics"
    project.settings["tuning"] = {"metric": "accuracy"}
    run = project.run(CLOUD_ML_TRIAL_ID="7", CLOUD_ML_HP_METRIC_FILE=str(file))
    assert run.code == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0]["trial"] == "7"
    assert lines[0]["accuracy"] == str(run.metrics["accuracy"])
    assert lines[0]["global_step"] == "0"


def test_rows_without_a_label_are_left_out(project):
    late = pa.parquet.read_table(project.folder / "rows.parquet")["late"].to_pylist()
    project.rows(late=pa.array([None, None, *late[2:]], pa.bool_()))
    run = project.run()
    assert "train: 398 rows" in run.out
    assert "2 rows without a label left out" in run.out


def test_an_empty_feature_is_a_warning(project):
    project.rows(gust=pa.nulls(600, pa.float64()))
    run = project.run()
    assert run.code == 0
    assert "warning: feature 'gust' is NULL in every row of the train split" in run.out


def test_a_script_runs_unchanged(project):
    project.code(SCRIPT, "train.py")
    project.settings["model"]["code"] = "train.py"
    project.settings["training"] = {"hyperparameters": {"learning_rate": 0.1}}
    run = project.run("--epochs", "4")
    assert (run.code, run.err) == (0, "")
    assert json.loads((project.model_dir / "model.pkl").read_text()) == [0.2, 4, str(project.folder)]
    assert project.run("--epochs=13").code == 3


def test_a_script_in_a_package_runs_as_a_module(project):
    project.code("", "trainer/__init__.py")
    project.code("doubled = 2", "trainer/values.py")
    project.code(
        "from .values import doubled\nif __name__ == '__main__':\n    print('module', doubled)", "trainer/task.py"
    )
    project.settings["model"]["code"] = "trainer/task.py"
    run = project.run()
    assert (run.code, run.out.splitlines()[-1]) == (0, "module 2")


def start(project, **variables) -> subprocess.Popen[str]:
    """Starts the container and returns once `train` runs."""
    process = subprocess.Popen(
        project.command(),
        cwd=project.folder,
        env=project.environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("from epoch"):
            break
    return process


def test_sigterm_saves_a_checkpoint_and_the_next_run_goes_on_from_it(project, tmp_path):
    checkpoints = tmp_path / "checkpoints"
    project.code(EPOCHS)
    process = start(project, AIP_CHECKPOINT_DIR=str(checkpoints), ENDLESS="1")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err == "Stopped by SIGTERM; training goes on from its checkpoint when the job is started again.\n"
    assert not (project.model_dir / "model.json").exists()

    run = project.run(AIP_CHECKPOINT_DIR=str(checkpoints))
    assert run.code == 0
    assert "going on from the checkpoint" in run.out
    assert "from epoch 0" not in run.out
    assert list(checkpoints.iterdir()) == [], "a run that is complete leaves no state behind"


def test_a_checkpoint_of_other_hyperparameters_is_not_taken(project, tmp_path):
    project.code(EPOCHS.replace("checkpoint):", "checkpoint, rate=1.0):"))
    process = start(project, AIP_CHECKPOINT_DIR=str(tmp_path / "checkpoints"), ENDLESS="1")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    run = project.run("--rate=2", AIP_CHECKPOINT_DIR=str(tmp_path / "checkpoints"))
    assert "from epoch 0" in run.out


def test_sigterm_without_a_checkpoint_ends_at_once_and_says_so(project):
    project.code(
        "import time\ndef train(train, validation):\n    print('from epoch', flush=True)\n    time.sleep(600)\n"
    )
    process = start(project)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err == "Stopped by SIGTERM; nothing was saved now: train takes no checkpoint.\n"


COUNTING = """
import resource

class Model:
    classes_ = [False, True]

    def predict(self, features):
        return [0] * len(features)

def train(train, validation):
    rows = sum(len(batch.features) + 0 * len(batch.label) for batch in train.batches())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Model(), {"rows": rows, "peak": peak, "length": len(train)}
"""


def test_memory_stays_bounded_when_the_trainer_takes_batches(project):
    pieces, piece, features = 32, 250_000, 20
    stamp = pa.timestamp("us", tz="UTC")
    half = pa.array([True] * (piece // 2) + [False] * (piece // 2))
    columns = {f"x{index}": pa.repeat(pa.scalar(float(index)), piece) for index in range(features)} | {"late": half}
    june, july = 1_370_000_000_000_000, 1_373_000_000_000_000
    tables = {when: pa.table({**columns, "time": pa.repeat(pa.scalar(when, stamp), piece)}) for when in (june, july)}
    with pa.parquet.ParquetWriter(project.folder / "rows.parquet", tables[june].schema) as writer:
        for when in [june] * pieces + [july]:
            writer.write_table(tables[when])
    project.code(COUNTING)
    run = project.run()
    assert (run.code, run.err) == (0, "")
    assert run.metrics["rows"] == run.metrics["length"] == pieces * piece
    assert pieces * piece * features * 8 > 1150 << 20, "the rows alone are larger than the memory allowed"
    assert run.metrics["peak"] < 750 << 20


def test_help_says_how_it_is_called(project):
    run = project.run("--help")
    assert run.code == 0
    assert "--config PATH" in run.out


def test_the_model_folder_is_left_without_a_signature_when_saving_fails(project):
    assert project.run().code == 0
    project.code(Path(project.folder / "model.py").read_text().replace("return model,", "return (lambda: 1),"))
    run = project.run()
    assert run.code == 1
    assert "has no predict" in run.err
    assert os.path.exists(project.model_dir / "model.json"), "a run that failed takes nothing away"
