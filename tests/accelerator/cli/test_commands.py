"""The command line as a user types it: each command in a process of its own, on one local cloud for the module."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.accelerator.cli.conftest import Mlops

from accelerator import config


def test_help_names_every_command_and_imports_no_client(mlops: Mlops) -> None:
    said = mlops("--help").stdout
    for command in ("up", "down", "status", "env", "exec", "demo", "build", "run", "cancel", "logs", "doctor", "init"):
        assert f"\n  {command} " in said
    script = "import sys, accelerator.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"google.api_core", "grpc", "localcloud", "pandas", "pydantic", "rich", "yaml"}
    assert heavy.isdisjoint(done.stdout.split())


def test_up_status_env_exec_down(mlops: Mlops) -> None:
    assert "The local cloud was not up." in mlops("down").stdout
    assert json.loads(mlops("status", "--json").stdout)["up"] is False
    first = json.loads(mlops("up", "--json").stdout)
    assert first["started"]
    again = json.loads(mlops("up", "--json").stdout)
    assert (again["pid"], again["started"]) == (first["pid"], False)
    status = json.loads(mlops("status", "--json").stdout)
    assert status["up"]
    assert {api["name"] for api in status["apis"]} >= {"aiplatform", "bigquery", "pubsub", "storage"}
    variables = json.loads(mlops("env", "--json").stdout)
    assert variables["https_proxy"] == f"http://127.0.0.1:{first['port']}"
    assert f"export https_proxy=http://127.0.0.1:{first['port']}" in mlops("env").stdout
    script = "import os; print(os.environ['https_proxy'], os.environ['GOOGLE_CLOUD_PROJECT'])"
    said = mlops("exec", "--project", "abc-def", "--", sys.executable, "-c", script).stdout
    assert said.split() == [variables["https_proxy"], "abc-def"]
    assert mlops("exec", "--", sys.executable, "-c", "raise SystemExit(7)", code=7)
    assert "is stopped" in mlops("down").stdout
    # the port is kept, so that environments that were printed go on to hold
    assert json.loads(mlops("up", "--json").stdout)["port"] == first["port"]


def test_after_a_crash(mlops: Mlops) -> None:
    before = json.loads(mlops("up", "--json").stdout)
    os.kill(before["pid"], signal.SIGKILL)
    until = time.monotonic() + 30
    while json.loads(mlops("status", "--json").stdout)["up"]:
        assert time.monotonic() < until
    after = json.loads(mlops("up", "--json").stdout)
    assert after["started"]
    assert (after["port"], after["pid"] != before["pid"]) == (before["port"], True)
    assert json.loads(mlops("status", "--json").stdout)["pid"] == after["pid"]
    assert "is stopped" in mlops("down").stdout


def test_a_command_that_is_not_there(mlops: Mlops) -> None:
    said = mlops("exec", "--", "no-such-command", code=1).stderr
    assert said.startswith("There is no command 'no-such-command'")
    assert "next:" in said


def test_a_port_that_is_taken(mlops: Mlops) -> None:
    mlops("down")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = mlops("up", "--port", str(taken.getsockname()[1]), code=1).stderr
    assert "The local cloud did not start" in said
    assert "Address already in use" in said
    assert "Choose another with --port" in said


def test_logs_of_nothing(mlops: Mlops) -> None:
    assert "No job, no pipeline run and no endpoint has the id 123" in mlops("logs", "123", code=1).stderr
    assert "No job, no pipeline run and no endpoint is named abc" in mlops("logs", "abc", code=1).stderr
    assert "Whose logs?" in mlops("logs", code=1).stderr
    assert "Ready on 127.0.0.1" in mlops("logs", "--server").stdout


def test_doctor_looks_through_both_transports(mlops: Mlops) -> None:
    mlops("up")
    found = {finding["name"]: finding["state"] for finding in json.loads(mlops("doctor", "--json").stdout)}
    assert found["Google's APIs over grpc"] == found["Google's APIs over rest"] == "ok"
    assert "wrong" not in found.values()


def test_init_makes_a_project_that_loads(mlops: Mlops, tmp_path: Path) -> None:
    folder = tmp_path / "My Model 2"
    mlops("init", str(folder), "--table", "shop.orders", "--label", "returned")
    made = config.load(folder)
    assert (made.model.name, made.data.table, made.data.label) == ("my-model-2", "shop.orders", "returned")
    assert (made.data.split.train, made.data.split.validation) == (0.7, 0.15)
    compile((folder / "model.py").read_text(), "model.py", "exec")
    said = mlops("init", str(folder), "--table", "a.b", "--label", "c", code=1).stderr
    assert "There is a project here already" in said


def test_init_writes_for_the_framework_it_is_told(mlops: Mlops, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    given = ("--table", "shop.orders", "--label", "returned", "--framework")
    said = mlops("init", str(folder), *given, "lightgbm", code=2).stderr
    assert "'scikit-learn', 'xgboost', 'pytorch'" in said
    assert not folder.exists()
    assert "model.py (xgboost)" in mlops("init", str(folder), *given, "xgboost").stdout
    assert "import XGBClassifier" in (folder / "model.py").read_text()
    assert "\nxgboost-cpu>=" in (folder / "requirements.txt").read_text()


def test_init_asks_for_what_it_is_not_told(mlops: Mlops, tmp_path: Path) -> None:
    mlops("init", str(tmp_path / "asked"), given="shop.orders\nreturned\n")
    assert config.load(tmp_path / "asked").data.label == "returned"


def test_init_leaves_nothing_half_made(mlops: Mlops, tmp_path: Path) -> None:
    said = mlops("init", str(tmp_path / "bad"), "--table", "no table", "--label", "x", code=1).stderr
    assert "no BigQuery table" in said
    assert not (tmp_path / "bad").exists()


def test_a_missing_configuration(mlops: Mlops, tmp_path: Path) -> None:
    said = mlops("build", code=1, cwd=tmp_path).stderr
    assert "mlops.yaml" in said


def test_a_wrong_key_names_its_line(mlops: Mlops, tmp_path: Path) -> None:
    mlops("init", str(tmp_path / "p"), "--table", "shop.orders", "--label", "returned")
    path = tmp_path / "p" / "mlops.yaml"
    path.write_text(path.read_text().replace("  label: returned", "  lable: returned"))
    said = mlops("build", "--config", str(path), code=1).stderr
    assert "lable" in said
    assert "label" in said
    assert "line 7" in said
