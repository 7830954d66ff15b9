"""The command `bq`, unmodified, where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.conftest import LocalCloud

pytestmark = pytest.mark.skipif(shutil.which("bq") is None, reason="bq (google-cloud-sdk) is not installed here")


def bq(cloud: LocalCloud, project: str, *arguments: str) -> str:
    command = ["bq", "--headless", "--quiet", f"--project_id={project}", *arguments]
    done = subprocess.run(
        command, env=cloud.environment(project), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_bq(cloud: LocalCloud, project: str, tmp_path: Path) -> None:
    bq(cloud, project, "mk", "--dataset", "--label=k:v", "d")
    assert "d" in bq(cloud, project, "ls")
    bq(cloud, project, "mk", "--table", "d.t", "id:INTEGER,name:STRING")
    file = tmp_path / "rows.csv"
    file.write_text("id,name\n1,x\n2,y\n")
    bq(cloud, project, "load", "--skip_leading_rows=1", "d.t", str(file))
    shown = json.loads(bq(cloud, project, "--format=json", "show", "d.t"))
    assert shown["numRows"] == "2"
    rows = json.loads(bq(cloud, project, "--format=json", "head", "-n", "1", "d.t"))
    assert rows == [{"id": "1", "name": "x"}]
    sql = "SELECT name, id + 1 AS next FROM d.t ORDER BY id"
    found = json.loads(bq(cloud, project, "--format=json", "query", "--nouse_legacy_sql", sql))
    assert found == [{"name": "x", "next": "2"}, {"name": "y", "next": "3"}]
    assert "SUCCESS" in bq(cloud, project, "ls", "-j")
    bq(cloud, project, "cp", "d.t", "d.u")
    bq(cloud, project, "rm", "-f", "-t", "d.t")
    left = json.loads(bq(cloud, project, "--format=json", "ls", "d"))
    assert [item["tableReference"]["tableId"] for item in left] == ["u"]
    bq(cloud, project, "rm", "-r", "-f", "d")
