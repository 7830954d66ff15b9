"""The resource store: lists, pages, masks, etags, many threads, and a server that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud import aiplatform_v1
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.errors import Aborted, AlreadyExists, InvalidArgument, NotFound
from localcloud.projects import Projects, number_of
from localcloud.resources import ResourceStore

Model: Any = aiplatform_v1.Model.pb()
Job: Any = aiplatform_v1.CustomJob.pb()
Context: Any = aiplatform_v1.Context.pb()
PARENT = "projects/1/locations/r"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResourceStore]:
    opened = ResourceStore(tmp_path / "resources.db")
    yield opened
    opened.close()


def test_create_get_delete(store: ResourceStore) -> None:
    created = store.create(f"{PARENT}/models/5", Model(display_name="m"))
    assert created.name == f"{PARENT}/models/5"
    assert created.create_time == created.update_time
    assert created.create_time.seconds > 0
    assert created.etag
    assert store.get(created.name, Model) == created
    assert store.find(created.name, Job) is None
    with pytest.raises(AlreadyExists, match="models/5"):
        store.create(created.name, Model())
    with pytest.raises(Aborted, match="etag"):
        store.delete(created.name, Model, etag="other")
    store.delete(created.name, Model, etag=created.etag)
    with pytest.raises(NotFound, match=r"Model `projects/1/locations/r/models/5` not found"):
        store.get(created.name, Model)
    with pytest.raises(InvalidArgument):
        store.create("models//5", Model())


def test_list_by_parent_wildcard_collection_and_descendants(store: ResourceStore) -> None:
    for name in ("projects/1/locations/r", "projects/2/locations/r", "projects/1/locations/s"):
        store.create(f"{name}/models/1", Model())
    store.create("projects/1/locations/r/models/1/deeper/2", Model())

    def names(parent: str, **how: Any) -> list[str]:
        return [item.name for item in store.list(parent, Model, **how).items]

    assert names(PARENT) == [f"{PARENT}/models/1"]
    assert names("projects/-/locations/r") == [f"{PARENT}/models/1", "projects/2/locations/r/models/1"]
    assert len(names("projects/-/locations/-")) == 3
    assert names("projects/*/locations/r") == []
    assert names(PARENT, descendants=True) == [f"{PARENT}/models/1", f"{PARENT}/models/1/deeper/2"]
    assert names(f"{PARENT}/models/1", collection="deeper") == [f"{PARENT}/models/1/deeper/2"]
    assert len(names("", descendants=True)) == 4


def test_pages_and_their_limits(store: ResourceStore) -> None:
    for number in range(7):
        store.create(f"{PARENT}/models/{number}", Model(display_name=f"m{number % 2}"))
    page = store.list(PARENT, Model, page_size=3, order_by="display_name desc, create_time")
    assert [item.display_name for item in page] == ["m1", "m1", "m1"]
    assert page.total_size == 7
    rest = store.list(
        PARENT,
        Model,
        page_size=50,
        page_token=page.next_page_token,
        order_by="display_name desc, create_time",
    )
    assert [item.name[-1] for item in rest] == ["0", "2", "4", "6"]
    assert rest.next_page_token == ""
    assert len(store.list(PARENT, Model, page_size=50, max_page_size=4).items) == 4
    assert len(store.list(PARENT, Model, default_page_size=5).items) == 5
    with pytest.raises(InvalidArgument, match="other arguments"):
        store.list(PARENT, Model, page_token=page.next_page_token, order_by="display_name, create_time desc")
    with pytest.raises(InvalidArgument, match="page_token is not valid"):
        store.list(PARENT, Model, page_token="nonsense")
    with pytest.raises(InvalidArgument, match="negative"):
        store.list(PARENT, Model, page_size=-1)
    for order in ("nothing", "display_name down", "labels", ","):
        with pytest.raises(InvalidArgument, match="order_by"):
            store.list(PARENT, Model, order_by=order)


words = st.sampled_from(["a", "b", "ab", "B", ""])


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.tuples(words, words), max_size=12), name=words, label=words, size=st.integers(1, 5))
def test_filtered_pages_are_what_python_selects(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    name: str,
    label: str,
    size: int,
) -> None:
    store = ResourceStore(tmp_path_factory.mktemp("store") / "resources.db")
    for index, (display_name, team) in enumerate(rows):
        store.create(f"{PARENT}/models/{index}", Model(display_name=display_name, labels={"team": team}))
    expected = sorted(
        (index for index, row in enumerate(rows) if row[0] == name or row[1] != label),
        key=lambda index: rows[index][0],
    )
    arguments = {
        "filter": f'display_name="{name}" OR labels.team!="{label}"',
        "order_by": "display_name",
        "page_size": size,
    }
    found, token = [], ""
    while True:
        page = store.list(PARENT, Model, page_token=token, **arguments)
        assert page.total_size == len(expected)
        found += [int(item.name.rsplit("/", 1)[1]) for item in page]
        token = page.next_page_token
        if not token:
            break
        assert len(page.items) == size
    store.close()
    assert found == expected


def test_pages_join_up_while_others_insert_and_delete(store: ResourceStore) -> None:
    for number in range(40):
        store.create(f"{PARENT}/models/{number}", Model(display_name=f"{number:04}"))
    done = threading.Event()

    def disturb() -> None:
        for number in range(100, 400):
            store.create(f"{PARENT}/models/{number}", Model(display_name=f"x{number}"))
            if number % 2:
                store.delete(f"{PARENT}/models/{number}", Model)
            if done.is_set():
                return

    thread = threading.Thread(target=disturb)
    thread.start()
    seen, token = [], ""
    while True:
        page = store.list(PARENT, Model, page_size=3, page_token=token, order_by="display_name")
        seen += [item.display_name for item in page]
        token = page.next_page_token
        if not token or len(seen) > 40:
            break
    done.set()
    thread.join()
    assert seen[:40] == [f"{number:04}" for number in range(40)]
    assert len(set(seen)) == len(seen)


def test_update_masks(store: ResourceStore) -> None:
    name = f"{PARENT}/models/5"
    created = store.create(
        name, Model(display_name="old", description="stays", labels={"a": "1", "b": "2"}, version_id="1")
    )
    new = Model(name=name, display_name="new", labels={"a": "9", "c": "3"})
    updated = store.update(new, ["display_name", "labels.a", "labels.b"])
    assert (updated.display_name, updated.description) == ("new", "stays")
    assert dict(updated.labels) == {"a": "9"}
    assert updated.etag != created.etag
    assert updated.create_time == created.create_time
    updated = store.update(
        Model(name=name, container_spec={"image_uri": "i", "args": ["x"]}), ["containerSpec.imageUri"]
    )
    assert updated.container_spec.image_uri == "i"
    assert not updated.container_spec.args
    updated = store.update(Model(name=name, description="only this"))
    assert (updated.display_name, updated.description) == ("new", "only this")
    updated = store.update(Model(name=name, display_name="whole"), ["*"])
    assert updated.display_name == "whole"
    assert updated.description == ""
    assert updated.create_time == created.create_time
    with pytest.raises(InvalidArgument, match="nothing"):
        store.update(new, ["nothing"])
    with pytest.raises(InvalidArgument, match="list"):
        store.update(new, ["deployed_models.endpoint"])
    with pytest.raises(Aborted):
        store.update(Model(name=name, etag="stale", display_name="x"), ["display_name"])
    with pytest.raises(NotFound):
        store.update(Model(name=f"{PARENT}/models/6"), ["display_name"])


def test_only_what_is_allowed_is_updated(store: ResourceStore) -> None:
    name = f"{PARENT}/models/5"
    store.create(name, Model(display_name="old", artifact_uri="gs://a"))
    allowed = ("display_name", "container_spec.args")
    new = Model(name=name, display_name="new", artifact_uri="gs://b", container_spec={"args": ["x"]})
    with pytest.raises(InvalidArgument, match=r"artifact_uri.*Fields that can: display_name"):
        store.update(new, ["artifact_uri"], allowed=allowed)
    updated = store.update(new, allowed=allowed)
    assert (updated.display_name, updated.artifact_uri) == ("new", "gs://a")
    assert list(updated.container_spec.args) == ["x"]
    store.update(new, ["update_time", "displayName"], allowed=allowed)
    assert store.update(Model(name=name), ["*"], allowed=allowed).artifact_uri == "gs://a"


def test_struct_fields_in_masks(store: ResourceStore) -> None:
    name = f"{PARENT}/contexts/c"
    context = Context()
    context.metadata.update({"a": 1, "b": {"c": "x", "d": "y"}})
    store.create(name, context)
    new = Context(name=name)
    new.metadata.update({"a": 2, "b": {"c": "z"}})
    updated = store.update(new, ["metadata.b.c", "metadata.absent"])
    assert updated.metadata["a"] == 1
    assert dict(updated.metadata["b"]) == {"c": "z", "d": "y"}
    assert "a" not in store.update(Context(name=name), ["metadata.a"]).metadata


@settings(deadline=None)
@given(
    old=st.dictionaries(st.sampled_from("abcd"), words),
    new=st.dictionaries(st.sampled_from("abcd"), words),
    mask=st.sets(st.sampled_from(["labels.a", "labels.b", "labels.c", "display_name"]), min_size=1),
)
def test_a_mask_changes_what_it_names_and_nothing_else(
    old: dict[str, str], new: dict[str, str], mask: set[str]
) -> None:
    from localcloud.fields import apply_mask

    stored = Model(display_name="old", description="d", labels=old)
    apply_mask(stored, Model(display_name="new", description="e", labels=new), mask)
    expected = dict(old)
    for path in mask - {"display_name"}:
        key = path[-1]
        expected.pop(key, None)
        if key in new:
            expected[key] = new[key]
    assert dict(stored.labels) == expected
    assert stored.display_name == ("new" if "display_name" in mask else "old")
    assert stored.description == "d"


def test_modify_is_atomic_among_threads(store: ResourceStore) -> None:
    name = f"{PARENT}/models/5"
    store.create(name, Model(version_id="0"))

    def count(message: Any) -> None:
        message.version_id = str(int(message.version_id) + 1)

    def work() -> None:
        for _ in range(50):
            store.modify(name, Model, count)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get(name, Model).version_id == "200"


def test_a_transaction_is_all_or_nothing(store: ResourceStore) -> None:
    def create_twice() -> None:
        with store.transaction():
            store.create(f"{PARENT}/models/1", Model())
            store.create(f"{PARENT}/models/1", Model())

    with pytest.raises(AlreadyExists):
        create_twice()
    assert store.list(PARENT, Model).total_size == 0


_WRITER = """
import sys
from pathlib import Path
from google.cloud import aiplatform_v1
from localcloud.resources import ResourceStore
store = ResourceStore(Path(sys.argv[1]))
Model = aiplatform_v1.Model.pb()
number = 0
while True:
    store.create(f"projects/1/locations/r/models/{number}", Model(display_name=str(number)))
    print(number, flush=True)
    number += 1
"""


def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "resources.db"
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(200)]
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
    writer.stdout.close()
    writer.wait()
    store = ResourceStore(path)
    stored = {int(item.display_name) for item in store.all(PARENT, Model)}
    store.close()
    assert set(acknowledged) <= stored
    assert len(stored - set(acknowledged)) <= 1


def test_project_ids_and_numbers_name_the_same(tmp_path: Path) -> None:
    store = ResourceStore(tmp_path / "resources.db")
    projects = Projects(store)
    number = number_of("my-project")
    assert len(number) == 12
    assert projects.canonical("projects/my-project/locations/r") == f"projects/{number}/locations/r"
    assert projects.canonical(f"projects/{number}") == f"projects/{number}"
    assert projects.canonical("projects/-/locations/r") == "projects/-/locations/r"
    assert projects.canonical("organizations/1") == "organizations/1"
    store.close()
    store = ResourceStore(tmp_path / "resources.db")
    assert Projects(store).with_id(f"projects/{number}/x/y") == "projects/my-project/x/y"
    assert Projects(store).id("123") == "123"
    store.close()
