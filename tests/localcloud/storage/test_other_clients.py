"""gcsfs and gcloud storage, unmodified, in processes of their own under the local target's variables."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.cloud import storage
from tests.conftest import LocalCloud

GCSFS = """
import sys, gcsfs
bucket = sys.argv[1]
fs = gcsfs.GCSFileSystem()
data = bytes(range(256)) * 4000
with fs.open(f"{bucket}/dir/data.bin", "wb") as file:
    file.write(data)
with fs.open(f"{bucket}/dir/data.bin", "rb") as file:
    file.seek(500_000)
    assert file.read(10) == data[500_000:500_010]
fs.pipe(f"{bucket}/dir/small.txt", b"small")
assert fs.cat(f"{bucket}/dir/small.txt") == b"small"
assert sorted(fs.ls(f"{bucket}/dir")) == [f"{bucket}/dir/data.bin", f"{bucket}/dir/small.txt"]
assert fs.glob(f"{bucket}/**/*.txt") == [f"{bucket}/dir/small.txt"]
assert fs.info(f"{bucket}/dir/data.bin")["size"] == len(data)
fs.copy(f"{bucket}/dir/small.txt", f"{bucket}/copy.txt")
fs.mv(f"{bucket}/copy.txt", f"{bucket}/moved.txt")
assert fs.cat(f"{bucket}/moved.txt") == b"small" and not fs.exists(f"{bucket}/copy.txt")
fs.merge(f"{bucket}/merged", [f"{bucket}/dir/small.txt", f"{bucket}/moved.txt"])
assert fs.cat(f"{bucket}/merged") == b"smallsmall"
try:
    fs.cat(f"{bucket}/missing")
except FileNotFoundError:
    pass
else:
    raise AssertionError("a missing file was found")
import pandas as pd
frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
frame.to_parquet(f"gs://{bucket}/frame.parquet")
assert pd.read_parquet(f"gs://{bucket}/frame.parquet").equals(frame)
fs.rm(f"{bucket}/dir", recursive=True)
fs.invalidate_cache()
assert not fs.exists(f"{bucket}/dir")
print("done")
"""


def run(cloud: LocalCloud, project: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program as `mlops exec` does."""
    environment = cloud.environment(project)
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if check:
        assert result.returncode == 0, result.stderr
    return result


def test_gcsfs(cloud: LocalCloud, project: str, bucket: storage.Bucket) -> None:
    assert run(cloud, project, sys.executable, "-c", GCSFS, bucket.name).stdout.strip() == "done"


@pytest.mark.skipif(not shutil.which("gcloud"), reason="gcloud is not installed")
def test_gcloud_storage(cloud: LocalCloud, project: str, bucket: storage.Bucket, tmp_path: Path) -> None:
    url = f"gs://{bucket.name}"

    def gcloud(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return run(cloud, project, "gcloud", "storage", *arguments, check=check)

    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a.txt").write_text("a")
    (tree / "sub" / "b.txt").write_text("bb")
    (tree / "big.bin").write_bytes(bytes(9_000_000))
    gcloud("cp", "--recursive", str(tree), url)
    assert sorted(blob.name for blob in bucket.list_blobs()) == [
        "tree/a.txt",
        "tree/big.bin",
        "tree/sub/b.txt",
    ]
    assert gcloud("cat", f"{url}/tree/sub/b.txt").stdout == "bb"
    assert gcloud("ls", f"{url}/tree/").stdout.split() == [
        f"{url}/tree/a.txt",
        f"{url}/tree/big.bin",
        f"{url}/tree/sub/",
    ]
    (tree / "a.txt").unlink()
    (tree / "new.txt").write_text("new")
    gcloud("rsync", "--recursive", "--delete-unmatched-destination-objects", str(tree), f"{url}/tree")
    assert [blob.name for blob in bucket.list_blobs()] == ["tree/big.bin", "tree/new.txt", "tree/sub/b.txt"]
    gcloud("cp", f"{url}/tree/big.bin", str(tmp_path / "big.bin"))
    assert (tmp_path / "big.bin").stat().st_size == 9_000_000
    gcloud("mv", f"{url}/tree/new.txt", f"{url}/moved.txt")
    assert "moved.txt" in gcloud("objects", "describe", f"{url}/moved.txt").stdout
    missing = gcloud("cat", f"{url}/missing", check=False)
    assert missing.returncode != 0
    assert "matched no objects" in missing.stderr
    gcloud("rm", "--recursive", f"{url}/**")
    assert list(bucket.list_blobs()) == []
    gcloud("buckets", "delete", url)
    assert not bucket.exists()
