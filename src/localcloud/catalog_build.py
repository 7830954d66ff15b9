"""Reads Google's API surface off the installed client libraries: `python -m localcloud.catalog_build FOLDER PACKAGE …`.

proto-plus registers messages but neither services nor HTTP annotations; the generated transports have both. The names
used here are private to the generator, so the libraries are pinned and tests hold the counts.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import grpc
import proto
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor

from localcloud.catalog import snake_case

HTTP_WITHOUT_REST_CLIENT: dict[str, list[dict[str, str]]] = {
    # Cloud Logging's Python client has no REST transport; gcloud uses REST. Rules of google/logging/v2/logging.proto.
    "/google.logging.v2.LoggingServiceV2/ListLogEntries": [
        {"verb": "POST", "template": "/v2/entries:list", "body": "*"}
    ],
    "/google.logging.v2.LoggingServiceV2/WriteLogEntries": [
        {"verb": "POST", "template": "/v2/entries:write", "body": "*"}
    ],
    "/google.logging.v2.LoggingServiceV2/ListLogs": [{"verb": "GET", "template": "/v2/{parent=*/*}/logs", "body": ""}],
    "/google.logging.v2.LoggingServiceV2/DeleteLog": [
        {"verb": "DELETE", "template": "/v2/{log_name=projects/*/logs/*}", "body": ""}
    ],
}

_REQUIRED = re.compile(r"^ +(\w+) \([^)]*\):\n +Required\.", re.MULTILINE)


class _Recorder(grpc.Channel):  # type: ignore[misc]
    """A channel on which nothing is sent: it notes the calls that a transport would make."""

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, bool]] = {}
        """By gRPC path: which sides stream."""

    def _note(self, client_streaming: bool, server_streaming: bool) -> Callable[..., Any]:
        def note(path: str, *_: Any, **__: Any) -> Callable[..., None]:
            self.calls[path] = {"client_streaming": client_streaming, "server_streaming": server_streaming}
            return lambda *args, **kwargs: None

        return note

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._note(False, False)(*args, **kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._note(False, True)(*args, **kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        return self._note(True, False)(*args, **kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        return self._note(True, True)(*args, **kwargs)

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        """Part of the interface: there is no connectivity to report."""

    def unsubscribe(self, callback: Any) -> None:
        """Part of the interface: there is no connectivity to report."""

    def close(self) -> None:
        """Part of the interface: there is nothing to close."""

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, *args: object) -> None:
        return None


def _descriptor(message: Any) -> Any:
    """The descriptor of a proto-plus or a plain message class."""
    return message.pb().DESCRIPTOR if isinstance(message, proto.message.MessageMeta) else message.DESCRIPTOR


def _services(package: ModuleType) -> Iterator[tuple[str, ModuleType, dict[str, Any]]]:
    """(service name, its folder's package, its entry in gapic_metadata.json)."""
    file = package.__file__
    assert file is not None
    metadata = json.loads((Path(file).parent / "gapic_metadata.json").read_text())
    for service, entry in metadata["services"].items():
        transports = f"{package.__name__}.services.{snake_case(service)}.transports"
        yield service, importlib.import_module(transports), entry


def _http_rules(transports: ModuleType, service: str, rpc: str) -> list[dict[str, str]]:
    try:
        rest_base = importlib.import_module(f"{transports.__name__}.rest_base")
    except ModuleNotFoundError:
        return []
    base = getattr(getattr(rest_base, f"_Base{service}RestTransport"), f"_Base{rpc}", None)
    options = getattr(base, "_get_http_options", None)
    if options is None:
        return []
    return [
        {"verb": option["method"].upper(), "template": option["uri"], "body": option.get("body", "")}
        for option in options()
    ]


def _methods(package: ModuleType) -> Iterator[tuple[dict[str, Any], list[FileDescriptor]]]:
    for service, transports, entry in _services(package):
        transport_class = getattr(transports, f"{service}GrpcTransport")
        recorder = _Recorder()
        transport = transport_class(channel=recorder)
        transport._logged_channel = recorder
        transport._stubs = {}
        for rpc in entry["clients"]["grpc"]["rpcs"]:
            # the annotation holds both message classes; serializers of plain messages no longer name theirs
            stub = getattr(transport_class, snake_case(rpc), None) or getattr(transport_class, f"{snake_case(rpc)}_")
            (request,), response = get_args(stub.fget.__annotations__["return"])
            recorder.calls.clear()
            stub.fget(transport)
            [(path, streaming)] = recorder.calls.items()
            request_type, response_type = _descriptor(request), _descriptor(response)
            method = {
                "package": path.split("/")[1].rpartition(".")[0],
                "service": service,
                "name": rpc,
                "request": request_type.full_name,
                "response": response_type.full_name,
                **streaming,
                "http": _http_rules(transports, service, rpc) or HTTP_WITHOUT_REST_CLIENT.get(path, []),
            }
            yield method, [request_type.file, response_type.file]


def _messages(package: ModuleType) -> Iterator[Any]:
    """Every proto-plus message of a package, nested ones included."""

    def walk(holder: Any) -> Iterator[Any]:
        for value in vars(holder).values():
            if isinstance(value, proto.message.MessageMeta) and value.__module__.startswith(package.__name__):
                yield value
                yield from walk(value)

    for module in pkgutil.iter_modules(importlib.import_module(f"{package.__name__}.types").__path__):
        yield from walk(importlib.import_module(f"{package.__name__}.types.{module.name}"))


def _required(message: Any) -> list[str]:
    """Fields whose documentation begins with Required: proto-plus drops google.api.field_behavior."""
    known = set(message.pb().DESCRIPTOR.fields_by_name)
    return [name for name in _REQUIRED.findall(message.__doc__ or "") if name in known]


def _with_dependencies(files: set[FileDescriptor]) -> list[FileDescriptor]:
    """The files and all they import, each after what it imports."""
    ordered: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        if file.name not in ordered:
            for dependency in file.dependencies:
                add(dependency)
            ordered[file.name] = file

    for file in sorted(files, key=lambda file: file.name):
        add(file)
    return list(ordered.values())


def main(folder: str, *packages: str) -> None:
    """Writes `surface.json` and `descriptors.pb` into a new folder."""
    methods: list[dict[str, Any]] = []
    required: dict[str, list[str]] = {}
    files: set[FileDescriptor] = set()
    for name in packages:
        package = importlib.import_module(name)
        for method, used in _methods(package):
            methods.append(method)
            files.update(used)
        for message in _messages(package):
            descriptor = message.pb().DESCRIPTOR
            files.add(descriptor.file)
            if fields := _required(message):
                required[descriptor.full_name] = fields
    descriptors = descriptor_pb2.FileDescriptorSet()
    for file in _with_dependencies(files):
        descriptors.file.add().ParseFromString(file.serialized_pb)
    target = Path(folder)
    target.mkdir()
    (target / "surface.json").write_text(json.dumps({"methods": methods, "required": required}))
    (target / "descriptors.pb").write_bytes(descriptors.SerializeToString())


if __name__ == "__main__":
    main(*sys.argv[1:])
