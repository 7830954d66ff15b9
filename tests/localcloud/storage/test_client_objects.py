"""google-cloud-storage, unmodified: objects up, down, listed, changed, composed, copied."""

from __future__ import annotations

import io
import os
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage import transfer_manager
from tests.conftest import LocalCloud


def test_upload_and_download_in_every_form(bucket: storage.Bucket, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    blob = bucket.blob("a/b/data.bin")
    blob.metadata = {"origin": "test", "näme": "wért"}
    blob.cache_control = "no-store"
    blob.upload_from_string(data, content_type="application/x-data")
    assert blob.download_as_bytes() == data
    assert blob.download_as_bytes(start=10, end=19) == data[10:20]
    assert blob.download_as_bytes(start=2_999_990) == data[-10:]
    blob.reload()
    assert (blob.size, blob.content_type, blob.cache_control) == (3_000_000, "application/x-data", "no-store")
    assert blob.metadata == {"origin": "test", "näme": "wért"}
    assert blob.md5_hash
    assert blob.crc32c
    (tmp_path / "local").write_bytes(data)
    bucket.blob("from-file").upload_from_filename(tmp_path / "local")
    bucket.blob("from-file").download_to_filename(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == data
    with bucket.blob("written").open("wb", chunk_size=262_144) as writer:
        for at in range(0, len(data), 100_000):
            writer.write(data[at : at + 100_000])
    with bucket.blob("written").open("rb") as reader:
        reader.seek(1_000_000)
        assert reader.read(10) == data[1_000_000:1_000_010]
    bucket.blob("resumable", chunk_size=262_144).upload_from_file(io.BytesIO(data), size=len(data))
    assert bucket.blob("resumable").download_as_bytes(checksum="md5") == data
    bucket.blob("unknown-size", chunk_size=262_144).upload_from_file(io.BytesIO(data))
    assert bucket.get_blob("unknown-size").size == len(data)
    bucket.blob("empty").upload_from_string(b"")
    assert bucket.blob("empty").download_as_bytes() == b""


def test_objects_are_files_and_files_are_objects(cloud: LocalCloud, bucket: storage.Bucket) -> None:
    folder = cloud.root / "buckets" / bucket.name
    bucket.blob("models/1/model.bin").upload_from_string(b"weights")
    assert (folder / "models/1/model.bin").read_bytes() == b"weights"
    (folder / "models/2").mkdir()
    (folder / "models/2/report.json").write_text("{}")
    found = bucket.get_blob("models/2/report.json")
    assert (found.size, found.content_type) == (2, "application/json")
    assert found.crc32c
    assert found.md5_hash == "mZFLkyvTelC5g8XnyQrpOw=="
    assert [blob.name for blob in bucket.list_blobs()] == ["models/1/model.bin", "models/2/report.json"]
    (folder / "models/2/report.json").write_text('{"auc": 1}')
    changed = bucket.get_blob("models/2/report.json")
    assert changed.generation > found.generation
    assert changed.download_as_bytes() == b'{"auc": 1}'
    (folder / "models/2/report.json").unlink()
    assert bucket.get_blob("models/2/report.json") is None
    (folder / "link").symlink_to("/etc/passwd")
    assert bucket.get_blob("link") is None
    assert "link" not in [blob.name for blob in bucket.list_blobs()]


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/passwd",
        "a//b",
        "folder/",
        "a/../../b",
        "./x",
        "ünï/ćødé/日本語 🙂",
        "x" * 1024,
        "/".join(["seg"] * 250),
        "percent%2Fname",
        "query?and#hash&x=1",
        "tab\tand\\back",
        ".escaped/x",
        "o/b/compose",
    ],
)
def test_odd_names_round_trip(bucket: storage.Bucket, cloud: LocalCloud, name: str) -> None:
    before = set((cloud.root / "buckets").iterdir())
    blob = bucket.blob(name)
    blob.upload_from_string(name.encode())
    assert [found.name for found in bucket.list_blobs()] == [name]
    assert bucket.get_blob(name).download_as_bytes() == name.encode()
    assert set((cloud.root / "buckets").iterdir()) == before
    blob.delete()
    assert list(bucket.list_blobs()) == []


def test_a_name_and_names_below_it(bucket: storage.Bucket) -> None:
    names = ["a", "a/", "a/b", "a/b/c"]
    for name in (*names, *reversed(names)):
        bucket.blob(name).upload_from_string(name)
    assert [blob.name for blob in bucket.list_blobs()] == names
    for name in names:
        assert bucket.blob(name).download_as_text() == name
    for name in names:
        bucket.blob(name).delete()
    assert list(bucket.list_blobs()) == []


def test_lists(bucket: storage.Bucket) -> None:
    names = ["a.txt", "b/", "b/1.txt", "b/2.csv", "b/c/3.txt", "d/4.txt", "e-f", "e/f"]
    for name in names:
        bucket.blob(name).upload_from_string(b"")

    def listed(**options: object) -> tuple[list[str], list[str]]:
        blobs = bucket.list_blobs(**options)
        return [blob.name for blob in blobs], sorted(blobs.prefixes)

    assert listed() == (sorted(names), [])
    assert listed(delimiter="/") == (["a.txt", "e-f"], ["b/", "d/", "e/"])
    assert listed(delimiter="/", include_trailing_delimiter=True) == (
        ["a.txt", "b/", "e-f"],
        ["b/", "d/", "e/"],
    )
    assert listed(prefix="b/", delimiter="/") == (["b/", "b/1.txt", "b/2.csv"], ["b/c/"])
    assert listed(prefix="b/", delimiter=".") == (["b/"], ["b/1.", "b/2.", "b/c/3."])
    assert listed(match_glob="**.txt") == (["a.txt", "b/1.txt", "b/c/3.txt", "d/4.txt"], [])
    assert listed(match_glob="*/*.{txt,csv}") == (["b/1.txt", "b/2.csv", "d/4.txt"], [])
    assert listed(match_glob="b/[0-1]*") == (["b/1.txt"], [])
    assert listed(start_offset="b/1.txt", end_offset="d/4.txt") == (["b/1.txt", "b/2.csv", "b/c/3.txt"], [])
    assert listed(page_size=3) == (sorted(names), [])
    assert listed(page_size=1, delimiter="/") == (["a.txt", "e-f"], ["b/", "d/", "e/"])
    assert listed(max_results=2) == (["a.txt", "b/"], [])
    some = list(bucket.list_blobs(fields="items(name),nextPageToken", page_size=2))
    assert [(blob.name, blob.size) for blob in some][:2] == [("a.txt", None), ("b/", None)]


def test_preconditions(bucket: storage.Bucket) -> None:
    blob = bucket.blob("guarded")
    blob.upload_from_string(b"1", if_generation_match=0)
    first = blob.generation
    with pytest.raises(exceptions.PreconditionFailed, match="pre-conditions"):
        bucket.blob("guarded").upload_from_string(b"2", if_generation_match=0)
    blob.upload_from_string(b"2", if_generation_match=first)
    assert blob.generation > first
    with pytest.raises(exceptions.PreconditionFailed):
        blob.download_as_bytes(if_generation_match=first)
    with pytest.raises(exceptions.NotModified):
        blob.reload(if_generation_not_match=blob.generation)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_metageneration_match=7)
    blob.metadata = {"k": "v"}
    blob.patch(if_metageneration_match=1)
    assert blob.metageneration == 2
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.copy_blob(blob, bucket, "copy", if_source_generation_match=first)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("composed").compose([blob], if_source_generation_match=[first])
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("never").upload_from_string(b"", if_generation_match=5)
    blob.delete(if_generation_match=blob.generation)
    with pytest.raises(exceptions.NotFound, match="No such object"):
        blob.delete()


def test_patch_update_and_holds(bucket: storage.Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string(b"x", content_type="text/plain")
    generation = blob.generation
    blob.metadata = {"a": "1", "b": "2"}
    blob.content_language = "en"
    blob.custom_time = datetime(2026, 1, 1, tzinfo=UTC)
    blob.patch()
    blob.metadata = {"a": None}
    blob.patch()
    fresh = bucket.get_blob("x")
    assert (fresh.generation, fresh.metageneration, fresh.metadata) == (generation, 3, {"b": "2"})
    assert (fresh.content_type, fresh.content_language) == ("text/plain", "en")
    blob.temporary_hold = True
    blob.patch()
    with pytest.raises(exceptions.Forbidden, match="Temporary hold"):
        blob.delete()
    blob.temporary_hold = False
    blob.patch()
    blob.delete()


def test_compose_copy_rewrite_and_rename(client: storage.Client, bucket: storage.Bucket) -> None:
    for name in ("1", "2"):
        bucket.blob(name).upload_from_string(name * 10, content_type="text/plain")
    composed = bucket.blob("composed")
    composed.compose([bucket.blob("1"), bucket.blob("2"), bucket.blob("1")])
    assert composed.download_as_text() == "1" * 10 + "2" * 10 + "1" * 10
    assert (composed.component_count, composed.md5_hash, composed.content_type) == (3, None, "text/plain")
    copied = bucket.copy_blob(bucket.blob("1"), bucket, "copies/1")
    assert copied.download_as_text() == "1" * 10
    renamed = bucket.rename_blob(bucket.blob("2"), "renamed")
    assert renamed.download_as_text() == "2" * 10
    assert bucket.get_blob("2") is None
    big = bucket.blob("big")
    data = os.urandom(3 * 1048576 + 7)
    big.upload_from_string(data)
    token, calls = None, 0
    while True:
        target = bucket.blob("rewritten")
        path = f"/b/{bucket.name}/o/big/rewriteTo/b/{bucket.name}/o/rewritten"
        parameters = {"maxBytesRewrittenPerCall": 1048576, **({"rewriteToken": token} if token else {})}
        answer = client._connection.api_request(method="POST", path=path, query_params=parameters, data={})
        calls += 1
        if answer["done"]:
            break
        token = answer["rewriteToken"]
    assert calls == 4
    assert target.download_as_bytes() == data
    target.update_storage_class("NEARLINE")
    assert bucket.get_blob("rewritten").storage_class == "NEARLINE"
    moved = bucket.move_blob(target, "moved")
    assert moved.download_as_bytes() == data
    assert bucket.get_blob("rewritten") is None


def test_batches(client: storage.Client, bucket: storage.Bucket) -> None:
    for number in range(5):
        bucket.blob(f"n/{number} ü").upload_from_string(b"")
    with client.batch():
        for number in range(3):
            bucket.blob(f"n/{number} ü").delete()
    assert [blob.name for blob in bucket.list_blobs()] == ["n/3 ü", "n/4 ü"]
    with client.batch():
        blob = bucket.blob("n/3 ü")
        blob.metadata = {"k": "v"}
        blob.patch()
    assert bucket.get_blob("n/3 ü").metadata == {"k": "v"}
    with pytest.raises(exceptions.NotFound), client.batch():
        bucket.blob("missing").delete()
    bucket.delete_blobs(list(bucket.list_blobs()))
    assert list(bucket.list_blobs()) == []


def test_versions(client: storage.Client, bucket: storage.Bucket, cloud: LocalCloud) -> None:
    bucket.versioning_enabled = True
    bucket.patch()
    blob = bucket.blob("x/y")
    generations = []
    for text in ("1", "2", "3"):
        blob.upload_from_string(text)
        generations.append(blob.generation)
    bucket.delete_blob("x/y")
    assert bucket.get_blob("x/y") is None
    listed = list(bucket.list_blobs(versions=True))
    assert [found.generation for found in listed] == generations
    assert all(found.time_deleted for found in listed)
    assert bucket.blob("x/y", generation=generations[1]).download_as_text() == "2"
    bucket.copy_blob(bucket.blob("x/y"), bucket, "x/y", source_generation=generations[0])
    assert bucket.blob("x/y").download_as_text() == "1"
    assert len(list(bucket.list_blobs(versions=True, page_size=1))) == 4
    with pytest.raises(exceptions.Conflict, match="not empty"):
        bucket.delete()
    for found in bucket.list_blobs(versions=True):
        found.delete()
    bucket.delete()
    assert not (cloud.root / "buckets" / bucket.name).exists()


def test_gzip_is_undone_for_clients_without_it(bucket: storage.Bucket) -> None:
    import gzip

    blob = bucket.blob("text.gz")
    blob.content_encoding = "gzip"
    packed = gzip.compress(b"hello" * 1000)
    blob.upload_from_string(packed, content_type="text/plain")
    assert blob.download_as_bytes() == b"hello" * 1000
    assert blob.download_as_bytes(raw_download=True) == packed
    answer = requests.get(blob.media_link, headers={"accept-encoding": "identity"}, timeout=30)
    assert answer.content == b"hello" * 1000


def test_signed_urls(bucket: storage.Bucket) -> None:
    blob = bucket.blob("signed/ö bject")
    url = blob.generate_signed_url(version="v4", expiration=timedelta(minutes=5), method="PUT")
    assert requests.put(url, data=b"through a signed URL", timeout=30).status_code == 200
    url = blob.generate_signed_url(version="v4", expiration=timedelta(minutes=5))
    answer = requests.get(url, timeout=30)
    assert answer.content == b"through a signed URL"
    assert answer.headers["x-goog-hash"].startswith("crc32c=")
    assert requests.get(url, headers={"range": "bytes=0-6"}, timeout=30).content == b"through"
    # an opener of its own: the module's keeps the proxies of whenever it was first used
    with urllib.request.build_opener().open(url, timeout=30) as plain:
        assert plain.read() == b"through a signed URL"
    assert requests.get(blob.generate_signed_url(version="v2", expiration=timedelta(hours=1)), timeout=30).ok
    past = datetime.now(UTC) - timedelta(hours=2)
    expired = blob.generate_signed_url(version="v2", expiration=past)
    answer = requests.get(expired, timeout=30)
    assert (answer.status_code, "ExpiredToken" in answer.text) == (400, True)
    broken = requests.get(url.replace("goog4_request", "nothing"), timeout=30)
    assert (broken.status_code, "X-Goog-Credential" in broken.text) == (400, True)
    missing = requests.get(url.replace("signed/", "missing/"), timeout=30)
    assert (missing.status_code, "NoSuchKey" in missing.text) == (404, True)


def test_transfer_manager(bucket: storage.Bucket, tmp_path: Path) -> None:
    data = os.urandom(5_000_000)
    (tmp_path / "big").write_bytes(data)
    transfer_manager.upload_chunks_concurrently(
        str(tmp_path / "big"), bucket.blob("big"), chunk_size=1_000_000, worker_type="thread", max_workers=3
    )
    transfer_manager.download_chunks_concurrently(
        bucket.blob("big"), str(tmp_path / "again"), chunk_size=700_000, worker_type="thread", max_workers=3
    )
    assert (tmp_path / "again").read_bytes() == data
    many = tmp_path / "many"
    (many / "sub").mkdir(parents=True)
    names = ["a.txt", "sub/b.txt"]
    for name in names:
        (many / name).write_text(name)
    results = transfer_manager.upload_many_from_filenames(
        bucket, names, source_directory=str(many), worker_type="thread"
    )
    assert results == [None, None]
    results = transfer_manager.download_many_to_path(
        bucket, names, destination_directory=str(tmp_path / "got"), worker_type="thread"
    )
    assert (tmp_path / "got/sub/b.txt").read_text() == "sub/b.txt"


def test_an_endpoint_instead_of_a_proxy(cloud: LocalCloud, bucket: storage.Bucket) -> None:
    """What STORAGE_EMULATOR_HOST and gcloud's endpoint override come down to."""
    options = {"api_endpoint": cloud.url}
    client = storage.Client("p", credentials=AnonymousCredentials(), client_options=options)
    here = client.bucket(bucket.name)
    here.blob("a/b").upload_from_string(bytes(9_000_000))
    blob = here.get_blob("a/b")
    assert blob.media_link.startswith(cloud.url)
    assert len(blob.download_as_bytes()) == 9_000_000
    with client.batch():
        here.delete_blob("a/b")
    assert list(client.list_blobs(bucket.name)) == []
    client.close()
