"""Containers as processes: what they see, what they say, how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from localcloud.runtime import ContainerSpec, LogTarget, StartFailed
from localcloud.runtime.containers import Lines

if TYPE_CHECKING:
    from tests.localcloud.runtime.conftest import Place

APP = """
import json, os, pathlib, sys
print(os.getcwd().endswith("/app"))
print(pathlib.Path(sys.argv[1]).read_text())
print(pathlib.Path(os.environ["TEMPLATE"]).read_text())
print(os.environ["CLOUD"], os.environ["OWN"], sorted(set(os.environ) & {"SECRET_OF_THE_USER", "VIRTUAL_ENV"}))
pathlib.Path(sys.argv[2]).write_text("made")
pathlib.Path(os.environ["TMPDIR"], "scratch").write_text("x")
pathlib.Path(os.environ["HOME"], "home").write_text("x")
pathlib.Path("written-in-app").write_text("x")
"""


def gone(pid: int, patience: float = 20) -> bool:
    """Whether a process is gone, or soon."""
    until = time.monotonic() + patience
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_what_a_container_sees(
    either: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: LogTarget
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_USER", "1")
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "template.txt").write_text("template")
    (either.buckets / "models" / "in.txt").write_text("bucket")
    image = either.image(
        "FROM python:3\nENV TEMPLATE=/srv/own/template.txt\nWORKDIR /app\nCOPY main.py .\n"
        'COPY template.txt /srv/own/\nENTRYPOINT ["python", "/app/main.py"]',
        tmp_path,
    )
    spec = ContainerSpec(
        "job", image, args=["/gcs/models/in.txt", "/gcs/models/out.txt"], env={"OWN": "mine"}, log=target
    )
    for _ in range(2):
        container = either.runtime.start(spec)
        assert container.wait(30) == 0, container.tail()
        assert [line for line in container.tail() if "private mounts" not in line] == [
            "True",
            "bucket",
            "template",
            "local mine []",
        ]
    assert (either.buckets / "models" / "out.txt").read_text() == "made"
    assert not list((either.root / "runtime" / "containers").iterdir())
    assert not (Path(image.tree) / "app" / "written-in-app").exists()


def test_installing_at_start_changes_nothing_for_others(either: Place, tmp_path: Path) -> None:
    package = tmp_path / "late"
    package.mkdir()
    (package / "late.py").write_text("")
    (package / "pyproject.toml").write_text('[project]\nname = "late"\nversion = "1"\n')
    wheel = tmp_path / "late-1-py3-none-any.whl"
    import zipfile

    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("late.py", "HERE = 1\n")
        archive.writestr("late-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: late\nVersion: 1\n")
        archive.writestr("late-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("late-1.dist-info/RECORD", "")
    for command in ("python -m pip", "pip"):
        script = f"{command} install -q --no-index /w/{wheel.name} && python -c 'import late; print(late.HERE)'"
        if not either.runtime._backend.private_mounts:
            script = script.replace("/w/", f"{tmp_path}/")
        code, output = either.run("sh", "-c", script, mounts={"/w": tmp_path})
        assert (code, output[-1:]) == (0, ["1"]), output
    code, _ = either.run("python", "-c", "import late")
    assert code == 1


def test_lines_are_in_the_log_while_it_runs(place: Place) -> None:
    target = LogTarget("projects/p/logs/live", "ml_job", {"job_id": "live"}, {"a": "b"})
    code = (
        "import sys, json; print('first'); print('wrong', file=sys.stderr);"
        "print(json.dumps({'message': 'structured', 'severity': 'WARNING', 'k': 1})); sys.stdin.read();"
        "import time; time.sleep(60)"
    )
    container = place.runtime.start(ContainerSpec("t", "python:3", command=["python", "-c", code], log=target))
    found: list[dict[str, object]] = []
    since = 0
    until = time.monotonic() + 30
    while len(found) < 3 and time.monotonic() < until:
        new, since = place.logs.follow('resource.labels.job_id="live"', since, 1)
        found += new
    assert container.poll() is None
    container.kill()
    texts = {str(entry.get("textPayload") or entry["jsonPayload"]): entry["severity"] for entry in found}
    assert texts == {"first": "INFO", "wrong": "ERROR", "{'k': 1, 'message': 'structured'}": "WARNING"}
    assert found[0]["labels"] == {"a": "b"}


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143), ("kill -11 $$", 139), ("exit 0", 0)],
)
def test_exit_codes(place: Place, script: str, code: int) -> None:
    assert place.run("sh", "-c", script)[0] == code


def test_stop_is_asked_for_first(place: Place) -> None:
    code = (
        "import signal, sys, time\n"
        "def stop(*_):\n    print('checkpoint'); sys.exit(5)\n"
        "signal.signal(signal.SIGTERM, stop)\nprint('ready')\ntime.sleep(60)"
    )
    ready: list[str] = []
    container = place.runtime.start(ContainerSpec("t", "python:3", command=["python", "-c", code], tee=ready.append))
    wait_for(lambda: "ready" in ready)
    assert container.poll() is None
    assert container.stop(30) == 5
    assert container.tail() == ["ready", "checkpoint"]
    assert (container.poll(), container.kill(), container.stop()) == (5, 5, 5)


def test_who_does_not_listen_is_killed(place: Place) -> None:
    ready: list[str] = []
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    container = place.runtime.start(ContainerSpec("t", "python:3", command=["sh", "-c", script], tee=ready.append))
    wait_for(lambda: "ready" in ready)
    assert container.stop(0.2) == 137


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        devnull = os.open(os.devnull, os.O_RDWR)
        os.dup2(devnull, 1); os.dup2(devnull, 2)
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep(float(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")
@pytest.mark.parametrize("seconds", ["0.3", "600"])
def test_a_daemon_ends_with_its_container(place: Place, seconds: str) -> None:
    said: list[str] = []
    container = place.runtime.start(
        ContainerSpec("t", "python:3", command=["python", "-c", DAEMON, seconds], tee=said.append)
    )
    wait_for(lambda: bool(said))
    daemon = int(said[0])
    assert psutil.pid_exists(daemon)
    assert (container.wait(30) if seconds == "0.3" else container.kill()) in (0, 137)
    assert gone(daemon)


SERVER = """
import sys, time
from pathlib import Path
from localcloud.logs import Logs
from localcloud.runtime import ContainerSpec, Runtime
root = Path(sys.argv[1])
say = lambda line: print(line, flush=True)
runtime = Runtime(root / "runtime", Logs(root), dict, root / "buckets")
spec = ContainerSpec("t", "python:3", command=["python", "-c", sys.argv[2], "600"], tee=say)
runtime.start(spec)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")
@pytest.mark.parametrize("kill_supervisor", [False, True])
def test_nothing_outlives_a_killed_server(place: Place, tmp_path: Path, kill_supervisor: bool) -> None:
    (tmp_path / "buckets").mkdir()
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(tmp_path), DAEMON], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    daemon = int(server.stdout.readline())
    family = psutil.Process(server.pid).children(recursive=True)
    supervisor = next(process for process in family if "supervisor" in " ".join(process.cmdline()))
    server.kill()
    if kill_supervisor:
        supervisor.kill()
    server.wait(30)
    server.stdout.close()
    if kill_supervisor:
        # What no one was left to end, the next server ends.
        from localcloud.runtime import Runtime

        Runtime(tmp_path / "runtime", place.logs, dict, tmp_path / "buckets").close()
    assert gone(daemon)
    for process in family:
        assert gone(process.pid), process
    wait_for(lambda: not list((tmp_path / "runtime" / "containers").iterdir()))


def test_a_container_over_its_memory_is_ended(place: Place) -> None:
    code = "import os, time; os.fork(); x = bytearray(90 << 20); x[::4096] = b'1' * len(x[::4096]); time.sleep(60)"
    container = place.runtime.start(
        ContainerSpec("t", "python:3", command=["python", "-c", code], memory_bytes=128 << 20)
    )
    assert container.wait(30) == 137
    assert container.out_of_memory
    assert place.run("true", memory_bytes=128 << 20)[0] == 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["nothing-like-it"], "No such command: nothing-like-it"),
        (["/no/such/file"], "No such command: /no/such/file"),
    ],
)
def test_what_cannot_start_says_so(place: Place, command: list[str], message: str) -> None:
    with pytest.raises(StartFailed, match=message):
        place.runtime.start(ContainerSpec("t", "python:3", command=command))


def test_command_and_args_over_entrypoint_and_cmd(place: Place, tmp_path: Path) -> None:
    image = place.image('FROM python:3\nENTRYPOINT ["echo", "entry"]\nCMD ["cmd"]', tmp_path)

    def said(**more: object) -> list[str]:
        container = place.runtime.start(ContainerSpec("t", image, **more))  # type: ignore[arg-type]
        container.wait(30)
        return container.tail()

    assert said() == ["entry cmd"]
    assert said(args=["own"]) == ["entry own"]
    assert said(args=[]) == ["entry"]
    assert said(command=["echo", "x"]) == ["x"]
    assert said(command=["echo"], args=["y"]) == ["y"]


def test_tail_and_long_lines() -> None:
    got: list[str] = []
    lines = Lines(got.append)
    lines.feed(b"one\ntw")
    lines.feed(b"o\r\n 10%\r 50%\r100%\n")
    lines.feed(b"x" * 200_000)
    lines.feed(b"\nlast \xff")
    lines.feed(b"")
    assert got[:3] == ["one", "two", "100%"]
    assert "".join(got[3:-1]) == "x" * 200_000
    assert got[-1] == "last \ufffd"


def test_wait_times_out(place: Place) -> None:
    container = place.runtime.start(ContainerSpec("t", "python:3", command=["sleep", "60"]))
    with pytest.raises(TimeoutError):
        container.wait(0.05)
    assert psutil.Process(container.pid).cmdline()[0] == "sleep"
    container.kill()


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="needs root to become another user")
def test_an_ordinary_user_has_private_mounts_too(tmp_path: Path) -> None:
    """The supervisor alone, as the user `nobody`, with an interpreter that it may read."""
    python = next((p for p in ("/usr/bin/python3", "/usr/local/bin/python3") if Path(p).exists()), None)
    if python is None:
        pytest.skip("no interpreter outside of root's folders")
    import json
    import shutil
    import tempfile

    import localcloud.runtime

    folder = Path(tempfile.mkdtemp(prefix="supervisor-"))
    try:
        shutil.copytree(Path(localcloud.runtime.__file__).parent / "supervisor", folder / "supervisor")
        for name in ("scratch/tmp", "scratch/root/app", "buckets/b"):
            (folder / name).mkdir(parents=True)
        (folder / "buckets/b/object").write_text("object")
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, 65534, 65534)
            path.chmod(0o755)
        config = {
            "argv": ["sh", "-c", "pwd; cat /gcs/b/object; echo; id -u; touch /app/mine /tmp/mine && echo may"],
            "env": {"PATH": "/usr/bin:/bin"},
            "cwd": "/app",
            "scratch": str(folder / "scratch"),
            "plan": [
                ["/tmp", str(folder / "scratch/tmp"), True],
                ["/app", str(folder / "scratch/root/app"), True],
                ["/gcs", str(folder / "buckets"), False],
            ],
            "memory": 0,
            "oom_question": None,
            "on_end": None,
        }
        with subprocess.Popen(
            [python, "-I", "-S", str(folder / "supervisor"), "2"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            user=65534,
            group=65534,
            extra_groups=[],
            cwd="/",
        ) as supervisor:
            assert supervisor.stdin is not None
            assert supervisor.stdout is not None
            assert supervisor.stderr is not None
            supervisor.stdin.write(json.dumps(config) + "\n")
            supervisor.stdin.flush()
            output, errors = supervisor.stdout.read(), supervisor.stderr.read()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if "forbidden" in errors:
        pytest.skip(f"this machine forbids user namespaces: {errors}")
    assert output.split() == ["/app", "object", "65534", "may"], errors


def wait_for(condition: object, patience: float = 30) -> None:
    """Waits until something holds."""
    until = time.monotonic() + patience
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def test_signals_of_the_terminal_do_not_reach_containers(place: Place) -> None:
    container = place.runtime.start(ContainerSpec("t", "python:3", command=["sleep", "60"]))
    assert os.getsid(container.pid) == container.pid
    os.kill(container.pid, signal.SIGKILL)
    assert container.wait(30) == 137
