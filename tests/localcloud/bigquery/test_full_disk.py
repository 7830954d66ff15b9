"""A disk that is really full: one clear error, the table as it was, and all well again after a restart."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.conftest import LocalCloud


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that holds 48 MB and no more."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"x": np.random.default_rng(0).random(800_000)}).to_parquet(path)
    script = textwrap.dedent(
        """
        import sys
        from google.cloud import bigquery
        client = bigquery.Client("my-project")
        client.create_dataset("d", exists_ok=True)
        config = bigquery.LoadJobConfig(source_format="PARQUET")
        loaded = 0
        try:
            for _ in range(12):
                with open(sys.argv[1], "rb") as file:
                    client.load_table_from_file(file, "d.t", job_config=config).result()
                loaded += 800_000
        except Exception as error:
            print(loaded, error.code.value, str(error))
        """
    )
    count = 'from google.cloud import bigquery; print(bigquery.Client("my-project").get_table("d.t").num_rows)'
    running = LocalCloud(small_disk / "cloud").start()

    def python(*arguments: str) -> str:
        command = [sys.executable, "-c", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env=running.environment("my-project"), timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        loaded, code, message = python(script, str(path)).split(" ", 2)
        assert int(loaded) > 0
        assert code == "400"
        assert "The disk is full" in message
        running.kill()
        subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
        running.start()
        assert python(count).strip() == loaded
    finally:
        if running.process.poll() is None:
            running.stop()
