"""The runtime through docker or podman, against a command of that name that records what it is asked.

It stands in for the engine, not for our code: what is tested is that each call is the one that the engine's manual
describes. The real engine is used where there is one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from localcloud.runtime import BuildFailed, ContainerSpec, ImageNotFound, LogTarget, Runtime, StartFailed

if TYPE_CHECKING:
    from tests.localcloud.runtime.conftest import Place

ENGINE = """#!{python}
import json, os, pathlib, subprocess, sys
root = pathlib.Path({root!r})
arguments = sys.argv[1:]
stdin = sys.stdin.read() if arguments[:1] == ["build"] else ""
with (root / "calls").open("a") as calls:
    calls.write(json.dumps([pathlib.Path(sys.argv[0]).name, *arguments, stdin]) + "\\n")
images = root / "images"
def name_of(uri):
    return images / uri.replace("/", "_")
if arguments[0] == "build":
    print("Sending build context")
    if "FROM broken" in stdin:
        sys.exit("no such base")
    name_of(arguments[arguments.index("--tag") + 1]).touch()
elif arguments[:2] == ["image", "inspect"]:
    if not name_of(arguments[2]).exists():
        sys.exit("No such image")
    config = {{"Env": ["A=1", "B=x=y"], "Entrypoint": ["python", "m.py"], "Cmd": None, "WorkingDir": "/app"}}
    config |= {{"User": "me", "ExposedPorts": {{"8080/tcp": {{}}}}, "Labels": {{"l": "v"}}}}
    print(json.dumps([{{"Id": "sha256:abc", "Config": config}}]))
elif arguments[:2] == ["image", "ls"]:
    print("\\n".join(p.name.replace("_", "/") for p in images.iterdir()))
elif arguments[0] == "pull":
    if "public" not in arguments[1]:
        sys.exit("pull access denied")
    name_of(arguments[1]).touch()
elif arguments[0] == "tag":
    name_of(arguments[2]).touch()
elif arguments[:2] == ["image", "rm"]:
    name_of(arguments[2]).unlink()
elif arguments[0] == "ps":
    print((root / "left").exists() and "one two" or "")
elif arguments[0] == "inspect":
    print((root / "oom").exists() and "true" or "false")
elif arguments[0] == "run":
    script = arguments[-1]
    os.execvp("sh", ["sh", "-c", script])
"""


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a recording engine that comes first on the path."""
    (tmp_path / "images").mkdir()
    command = tmp_path / "bin" / request.param
    command.parent.mkdir()
    command.write_text(ENGINE.format(python=sys.executable, root=str(tmp_path)))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def runtime(engine: Path, place: Place) -> Iterator[Runtime]:
    """A runtime on it."""
    name = next((engine / "bin").iterdir()).name
    bundle = engine / "bundle.pem"
    bundle.touch()
    environment = {"https_proxy": "http://127.0.0.1:1", "SSL_CERT_FILE": str(bundle)}
    made = Runtime(engine / "runtime", place.logs, lambda: environment, place.buckets, name)  # type: ignore[arg-type]
    yield made
    made.close()


def calls(engine: Path) -> list[list[str]]:
    """What the engine was asked, without its name and its input."""
    return [json.loads(line)[1:-1] for line in (engine / "calls").read_text().splitlines()]


def test_build(engine: Path, runtime: Runtime, tmp_path: Path) -> None:
    said: list[str] = []
    image = runtime.images.build(tmp_path, "images/Dockerfile", "local/x", build_args={"A": "1"}, log=said.append)
    assert said == ["Sending build context"]
    assert calls(engine)[1] == [
        *("build", "--network", "host", "--label", "dev.localcloud.image=1", "--tag", "local/x:latest"),
        *("--build-arg", "A=1", "--file", str(tmp_path / "images/Dockerfile"), str(tmp_path)),
    ]
    assert (image.digest, image.env, image.workdir) == ("sha256:abc", {"A": "1", "B": "x=y"}, "/app")
    assert (image.entrypoint, image.cmd, image.ports) == (("python", "m.py"), (), (8080,))
    runtime.images.tag("local/x", "local/y:2")
    assert [i.uri for i in runtime.images.list()] == ["local/x:latest", "local/y:2"]
    runtime.images.delete("local/y:2")
    assert [i.uri for i in runtime.images.list()] == ["local/x:latest"]
    with pytest.raises(BuildFailed, match="no such base"):
        runtime.images.build(tmp_path, "FROM broken\nRUN x", "local/z")


def test_images_that_are_not_here_are_pulled(engine: Path, runtime: Runtime) -> None:
    assert runtime.images.resolve("public/image:1").uri == "public/image:1"
    assert ["pull", "public/image:1"] in calls(engine)
    with pytest.raises(ImageNotFound, match="pull access denied"):
        runtime.images.resolve("private/image:1")


def test_packages_become_an_image(engine: Path, runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "p.whl").write_text("wheel")
    first = runtime.images.with_packages("public/image:1", [tmp_path / "p.whl"])
    assert runtime.images.with_packages("public/image:1", [tmp_path / "p.whl"]).uri == first.uri
    assert [call[0] for call in calls(engine)].count("build") == 1
    lines = (engine / "calls").read_text().splitlines()
    text = json.loads(next(line for line in lines if '"build"' in line))[-1]
    assert text.splitlines()[::2] == [
        "FROM public/image:1",
        "RUN python3 -m pip install --no-cache-dir /tmp/packages/p.whl",
    ]


def test_run(engine: Path, runtime: Runtime, place: Place, tmp_path: Path) -> None:
    container = runtime.start(
        ContainerSpec(
            "job",
            "public/image:1",
            command=["python", "-m"],
            args=["task", "echo out; echo err >&2; exit 3"],
            env={"OWN": "1"},
            log=LogTarget("projects/p/logs/x", "ml_job", {"job_id": f"engine {engine}"}),
            memory_bytes=1 << 30,
            workdir="/w",
            mounts={"/data": tmp_path},
        )
    )
    assert container.wait(30) == 3
    assert sorted(container.tail()) == ["err", "out"]
    run = next(call for call in calls(engine) if call[0] == "run")
    identifier = run[run.index("--name") + 1]
    assert run == [
        *("run", "--name", identifier, "--network", "host"),
        *("--label", f"dev.localcloud.image.root={engine.resolve()}/runtime/containers"),
        *("--env", "https_proxy=http://127.0.0.1:1", "--env", f"SSL_CERT_FILE={engine}/bundle.pem"),
        *("--env", "OWN=1", "--volume", f"{place.buckets.resolve()}:/gcs"),
        *("--volume", f"{engine}/bundle.pem:{engine}/bundle.pem:ro", "--volume", f"{tmp_path.resolve()}:/data"),
        *("--memory", str(1 << 30), "--workdir", "/w", "--entrypoint", "python", "public/image:1"),
        *("-m", "task", "echo out; echo err >&2; exit 3"),
    ]
    assert calls(engine)[-1] == ["rm", "--force", identifier]
    found = place.logs.read(f'resource.labels.job_id="engine {engine}"').entries
    pulled = f"{next((engine / 'bin').iterdir()).name} pull public/image:1"
    assert {entry["textPayload"] for entry in found} == {pulled, "out", "err"}


def test_the_engine_is_asked_why_a_container_was_killed(engine: Path, runtime: Runtime) -> None:
    (engine / "oom").touch()
    container = runtime.start(ContainerSpec("job", "public/image:1", args=["kill -9 $$"]))
    assert (container.wait(30), container.out_of_memory) == (137, True)


def test_stop_and_kill(engine: Path, runtime: Runtime) -> None:
    said: list[str] = []
    script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    container = runtime.start(ContainerSpec("job", "public/image:1", args=[script], tee=said.append))
    until = time.monotonic() + 30
    while "ready" not in said and time.monotonic() < until:
        time.sleep(0.02)
    assert container.stop(10) == 5
    second = runtime.start(ContainerSpec("job", "public/image:1", args=["sleep 60"]))
    assert second.kill() == 137
    assert [call[0] for call in calls(engine)].count("rm") >= 2


def test_what_an_earlier_server_left_is_removed(engine: Path, runtime: Runtime, place: Place) -> None:
    (engine / "left").touch()
    Runtime(engine / "runtime", place.logs, dict, place.buckets, runtime.engine).close()
    assert calls(engine)[-1] == ["rm", "--force", "one", "two"]


def test_without_the_command(tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartFailed, match="there is no command podman"):
        Runtime(tmp_path / "runtime", place.logs, dict, place.buckets, "podman")


def _has_engine(name: str) -> bool:
    return shutil.which(name) is not None and subprocess.run([name, "info"], capture_output=True).returncode == 0


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_the_real_engine(name: str, tmp_path: Path, place: Place) -> None:
    if not _has_engine(name):
        pytest.skip(f"no {name} runs here")
    runtime = Runtime(tmp_path / "runtime", place.logs, lambda: {"CLOUD": "local"}, place.buckets, name)  # type: ignore[arg-type]
    (place.buckets / "models" / "engine.txt").write_text("bucket")
    image = runtime.images.build(tmp_path, "FROM python:3.11-slim\nENV A=1\n", "localcloud/test:engine")
    container = runtime.start(
        ContainerSpec("t", image, command=["sh", "-c", "echo $A $CLOUD; cat /gcs/models/engine.txt"])
    )
    assert (container.wait(120), container.tail()) == (0, ["1 local", "bucket"])
    runtime.images.delete("localcloud/test:engine")
    runtime.close()
