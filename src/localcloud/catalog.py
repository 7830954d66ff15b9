"""Google's API surface as the local cloud serves it: methods, HTTP rules, message types, required fields.

It is read off the installed client libraries once (`catalog_build`, in a process of its own, since importing them
takes seconds and 300 MB) and cached on disk, keyed by their versions. Serving needs none of the libraries.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

LIBRARIES = {
    "google.cloud.aiplatform_v1": "google-cloud-aiplatform",
    "google.cloud.aiplatform_v1beta1": "google-cloud-aiplatform",
    "google.cloud.bigquery_storage_v1": "google-cloud-bigquery-storage",
    "google.cloud.devtools.cloudbuild_v1": "google-cloud-build",
    "google.cloud.logging_v2": "google-cloud-logging",
    "google.cloud.resourcemanager_v3": "google-cloud-resource-manager",
    "google.pubsub_v1": "google-cloud-pubsub",
}
"""GAPIC package to the distribution that holds it: a further API is a further line."""

GIVEN_ELSEWHERE = {
    "google.logging.v2.LogEntry": frozenset({"log_name", "resource"}),
    "google.devtools.cloudbuild.v1.CreateBuildRequest": frozenset({"project_id"}),
    "google.devtools.cloudbuild.v1.GetBuildRequest": frozenset({"project_id", "id"}),
    "google.devtools.cloudbuild.v1.ListBuildsRequest": frozenset({"project_id"}),
    "google.devtools.cloudbuild.v1.CancelBuildRequest": frozenset({"project_id", "id"}),
    "google.devtools.cloudbuild.v1.RetryBuildRequest": frozenset({"project_id", "id"}),
}
"""Fields marked as required that another field may stand for (`name`, `parent`, the request around a part); the
service looks after them."""


@dataclass(frozen=True)
class HttpRule:
    """One binding of a method to HTTP (google.api.HttpRule)."""

    verb: str
    """`GET`, `POST` …"""
    template: str
    """`/v1/{name=projects/*/locations/*/customJobs/*}:cancel`."""
    body: str
    """The request field that the body fills, `*` for the whole request, empty for none."""


@dataclass(frozen=True)
class Method:
    """One RPC of the surface."""

    package: str
    service: str
    name: str
    request: str
    response: str
    client_streaming: bool
    server_streaming: bool
    http: tuple[HttpRule, ...]

    @property
    def full_name(self) -> str:
        """`google.pubsub.v1.Publisher.Publish`, as error messages and logs name it."""
        return f"{self.package}.{self.service}.{self.name}"

    @property
    def path(self) -> str:
        """`/google.pubsub.v1.Publisher/Publish`, the method's name on gRPC."""
        return f"/{self.package}.{self.service}/{self.name}"


@dataclass(frozen=True)
class Catalog:
    """The whole surface.

    Args:
        methods: By gRPC path.
        required: For each message type the fields documented as required.
    """

    methods: dict[str, Method]
    required: dict[str, frozenset[str]]

    def of_package(self, package: str) -> list[Method]:
        """The methods of one proto package, in the order of their names."""
        found = [method for method in self.methods.values() if method.package == package]
        return sorted(found, key=lambda method: (method.service, method.name))


class Package:
    """The message classes and enums of a proto package as attributes: `Package("google.pubsub.v1").Topic`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        load()
        full_name = f"{self._name}.{name}"
        try:
            found: Any = message_class(full_name)
        except KeyError:
            try:
                found = EnumTypeWrapper(descriptor_pool.Default().FindEnumTypeByName(full_name))
            except KeyError:
                raise AttributeError(f"{full_name} is no message and no enum of the installed clients") from None
        setattr(self, name, found)
        return found


def snake_case(name: str) -> str:
    """`CreateCustomJob` as Google's clients and the services here name its method: `create_custom_job`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@cache
def message_class(full_name: str) -> Any:
    """The plain protobuf class of a message type.

    Raises:
        KeyError: No installed client knows the type.
    """
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(full_name))


@cache
def load() -> Catalog:
    """The surface, from the cache or read off the client libraries (some 10 s, once for each set of versions).

    In a process that uses a client library as well, import that first: its messages are then used as they are, while
    proto-plus fails on message types that somebody else has registered.
    """
    folder = cache_folder() / f"catalog-{_key()}"
    if not folder.is_dir():
        _build(folder)
    files = descriptor_pb2.FileDescriptorSet.FromString((folder / "descriptors.pb").read_bytes())
    pool = descriptor_pool.Default()
    for file in files.file:
        if not _registered(pool, file.name):
            pool.AddSerializedFile(file.SerializeToString())
    surface = json.loads((folder / "surface.json").read_bytes())
    methods = [
        Method(**{**method, "http": tuple(HttpRule(**rule) for rule in method["http"])})
        for method in surface["methods"]
    ]
    return Catalog(
        methods={method.path: method for method in methods},
        required={
            name: frozenset(fields) - GIVEN_ELSEWHERE.get(name, frozenset())
            for name, fields in surface["required"].items()
        },
    )


def cache_folder() -> Path:
    """Where things that can be made again are kept between runs, for this user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vertex-mlops-accelerator"


def _registered(pool: descriptor_pool.DescriptorPool, file: str) -> bool:
    try:
        pool.FindFileByName(file)
    except KeyError:
        return False
    return True


def _key() -> str:
    reader = (Path(__file__).parent / "catalog_build.py").read_bytes()
    versions = [f"{package}={version(library)}" for package, library in sorted(LIBRARIES.items())]
    return hashlib.sha256("\n".join([*versions, version("protobuf")]).encode() + reader).hexdigest()[:16]


def _build(folder: Path) -> None:
    """Builds beside the target and renames, so that two servers starting at once do not meet half a cache."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".catalog-") as scratch:
        made = Path(scratch) / "made"
        command = [sys.executable, "-m", "localcloud.catalog_build", str(made), *LIBRARIES]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
