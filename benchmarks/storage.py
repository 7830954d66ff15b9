"""How fast Cloud Storage is: 50 MB up and down, ranges, many small objects, long listings.

It talks to whatever endpoint the environment points google-cloud-storage at: `mlops exec -- python
benchmarks/storage.py`, or the real Cloud Storage with `--bucket`.
"""

from __future__ import annotations

import argparse
import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from google.cloud import storage

MEGABYTES = 50
SMALL = 1000
GOAL = 300.0
"""MB/s, one way, through TLS."""


def measure(client: storage.Client, bucket: storage.Bucket, rounds: int = 5) -> dict[str, float]:
    """Measure a bucket.

    Args:
        client: Pointed at a running endpoint.
        bucket: An empty bucket there.
        rounds: How often the large transfers are repeated; the median counts.

    Returns:
        MB/s of `upload` and `download`; objects/s of `small_up`, `small_down`, `small_up_threads`, `list`.
    """
    data = os.urandom(MEGABYTES * 1_000_000)
    blob = bucket.blob("large")

    def up() -> None:
        blob.upload_from_string(data)

    def down() -> None:
        if len(bucket.blob("large").download_as_bytes()) != len(data):
            raise RuntimeError("the download is not what was uploaded")

    up()
    result = {
        "upload": MEGABYTES / median(_seconds(up) for _ in range(rounds)),
        "download": MEGABYTES / median(_seconds(down) for _ in range(rounds)),
    }
    names = [f"small/{number:04d}" for number in range(SMALL)]
    result["small_up"] = SMALL / _seconds(lambda: [bucket.blob(n).upload_from_string(b"x" * 1000) for n in names])
    result["small_down"] = SMALL / _seconds(lambda: [bucket.blob(name).download_as_bytes() for name in names])
    with ThreadPoolExecutor(8) as pool:
        work = [f"threads/{number:04d}" for number in range(SMALL)]
        result["small_up_threads"] = SMALL / _seconds(
            lambda: list(pool.map(lambda name: bucket.blob(name).upload_from_string(b"x" * 1000), work))
        )
    result["list"] = (2 * SMALL + 1) / _seconds(lambda: list(client.list_blobs(bucket)))
    return result


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    """Measure a bucket made for the purpose and print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bucket", help="an existing empty bucket; else one is made and deleted")
    options = parser.parse_args()
    client = storage.Client()
    bucket = client.bucket(options.bucket or f"bench-{uuid.uuid4().hex[:12]}")
    if not options.bucket:
        bucket.create()
    try:
        result = measure(client, bucket)
    finally:
        for page in bucket.list_blobs(page_size=100).pages:
            bucket.delete_blobs(list(page))
        if not options.bucket:
            bucket.delete()
    for name, goal in (("upload", GOAL), ("download", GOAL)):
        print(f"storage {name} of {MEGABYTES} MB: {result[name]:.0f} MB/s ({result[name] / goal:.2f} x the goal)")
    for name in ("small_up", "small_down", "small_up_threads", "list"):
        print(f"storage {name}: {result[name]:.0f} objects/s")


if __name__ == "__main__":
    main()
