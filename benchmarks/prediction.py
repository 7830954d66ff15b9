"""The prediction container beside MLServer, a plain FastAPI handler and the bare model, in one run.

`python benchmarks/prediction.py`. The contenders are up together and take turns; ratios are within a round. On a
machine that does other work, processor time a request says more than requests a second.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent / "prediction"
CLIENTS = (1, 8, 64)
SIZES = (1, 100)
BARE = "bare loop"
OURS = "ours"
WORKERS = 2
"""Serving processes of every contender."""
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""For every process, or OpenMP threads that wait for each other's processors would be all that is measured;
ours sets it by itself."""


@dataclass(frozen=True)
class Contender:
    """A server that is up: its name, first process, where it predicts, which of the prepared bodies it takes."""

    name: str
    process: psutil.Process
    url: str
    body: str = "{size}.json"

    def processor_seconds(self) -> float:
        """What its processes have used of the processors so far."""
        times = [one.cpu_times() for one in (self.process, *self.process.children(recursive=True))]
        return sum(one.user + one.system for one in times)


@dataclass(frozen=True)
class Cell:
    """What was measured for one number of clients and instances: one entry a round, by contender."""

    clients: int
    size: int
    rounds: list[dict[str, dict[str, float]]]

    def rate(self, name: str) -> list[float]:
        """Requests a second, one a round."""
        return [one[name]["requests"] / one[name]["seconds"] for one in self.rounds]

    def processor(self, name: str) -> list[float]:
        """Processor milliseconds a request, one a round."""
        return [one[name]["processor"] / one[name]["requests"] * 1000 for one in self.rounds]

    def ratio(self, name: str) -> list[float]:
        """Our requests a second for each one of the contender's, one a round."""
        return [ours / theirs for ours, theirs in zip(self.rate(OURS), self.rate(name), strict=True)]


def run(seconds: float = 1.5, rounds: int = 3, *, others: bool = True) -> list[Cell]:
    """Run the benchmark and print its table.

    Args:
        seconds: How long each contender is loaded in each turn.
        rounds: Turns of each contender, for each number of clients and instances.
        others: Whether MLServer and FastAPI take part, or only ours and the bare model.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-prediction-")))
        _python(sys.executable, HERE / "model.py", folder)
        bare = stack.enter_context(_bare_loop(folder))
        contenders = [stack.enter_context(_ours(folder))]
        other = _environment() if others else None
        if other is not None:
            contenders.append(stack.enter_context(_fastapi(other, folder)))
            contenders.append(stack.enter_context(_mlserver(other, folder, batching=False)))
            contenders.append(stack.enter_context(_mlserver(other, folder, batching=True)))
        for contender in contenders:  # libraries that load at the first call, first connections
            for size in SIZES:
                _load(contender, folder, size, 2 * WORKERS, 0.5)
        cells = []
        for size in SIZES:
            for clients in CLIENTS:
                cells.append(
                    Cell(
                        clients,
                        size,
                        [_round(bare, contenders, folder, size, clients, seconds) for _ in range(rounds)],
                    )
                )
                _print(cells[-1])
        return cells


def _round(
    bare: subprocess.Popen[str], contenders: list[Contender], folder: Path, size: int, clients: int, seconds: float
) -> dict[str, dict[str, float]]:
    assert bare.stdin is not None
    assert bare.stdout is not None
    print(size, seconds, file=bare.stdin, flush=True)
    found = {BARE: json.loads(bare.stdout.readline())}
    for contender in contenders:
        found[contender.name] = _load(contender, folder, size, clients, seconds)
    return found


def _load(contender: Contender, folder: Path, size: int, clients: int, seconds: float) -> dict[str, float]:
    body = folder / contender.body.format(size=size)
    arguments = (contender.url, body, "--clients", clients, "--seconds", seconds)
    before = contender.processor_seconds()
    found: dict[str, float] = _python(sys.executable, HERE / "client.py", *arguments)
    return {**found, "processor": contender.processor_seconds() - before}


def _python(*command: object) -> Any:
    done = subprocess.run(
        [*map(str, command)],
        env={**os.environ, **THREADS},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{command[1]} failed:\n{done.stderr}")
    return json.loads(done.stdout) if done.stdout else None


def _print(cell: Cell) -> None:
    instances = "1 instance" if cell.size == 1 else f"{cell.size} instances"
    print(f"\n{cell.clients} clients, {instances} a request", flush=True)
    print(f"  {'':24}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'cpu ms':>8}   ours / it (spread)")
    for name in cell.rounds[0]:
        p50, p99 = (statistics.median(one[name][key] for one in cell.rounds) for key in ("p50", "p99"))
        ratio, processor = cell.ratio(name), statistics.median(cell.processor(name))
        beside = "" if name == OURS else f"{statistics.median(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f})"
        print(
            f"  {name:24}{statistics.median(cell.rate(name)):12.0f}{p50:10.2f}{p99:10.2f}{processor:8.2f}   {beside}",
            flush=True,
        )


@contextmanager
def _bare_loop(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(HERE / "bare_loop.py"), str(folder)]
    environment = {**os.environ, **THREADS}
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process  # leaving closes stdin, which ends it


@contextmanager
def _ours(folder: Path) -> Iterator[Contender]:
    port = _free_port()
    environment = {
        "AIP_HTTP_HOST": "127.0.0.1",
        "AIP_HTTP_PORT": str(port),
        "AIP_STORAGE_URI": str(folder),
        "WEB_CONCURRENCY": str(WORKERS),
    }
    url = f"http://127.0.0.1:{port}"
    with _server([sys.executable, "-m", "accelerator.prediction"], environment, f"{url}/health") as process:
        yield Contender(OURS, process, f"{url}/predict")


@contextmanager
def _fastapi(python: str, folder: Path) -> Iterator[Contender]:
    port = _free_port()
    command = [python, "-m", "uvicorn", "--app-dir", str(HERE), "--port", str(port), "--no-access-log"]
    command += ["--workers", str(WORKERS), "fastapi_handler:app"]
    url = f"http://127.0.0.1:{port}"
    with _server(command, {"MODEL_FILE": str(folder / "model.joblib")}, f"{url}/health") as process:
        yield Contender("FastAPI", process, f"{url}/predict")


@contextmanager
def _mlserver(python: str, folder: Path, *, batching: bool) -> Iterator[Contender]:
    ports = [_free_port() for _ in range(3)]
    home = folder / f"mlserver-{batching}"
    home.mkdir()
    settings = {"host": "127.0.0.1", "http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2]}
    settings |= {"parallel_workers": WORKERS, "debug": False, "metrics_dir": str(home / "metrics")}
    (home / "settings.json").write_text(json.dumps(settings))
    model = {
        "name": "late",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(folder / "model.joblib")},
        **({"max_batch_size": 64, "max_batch_time": 0.005} if batching else {}),
    }
    (home / "model-settings.json").write_text(json.dumps(model))
    url = f"http://127.0.0.1:{ports[0]}/v2/models/late"
    with _server([str(Path(python).parent / "mlserver"), "start", str(home)], {}, f"{url}/ready") as process:
        yield Contender(
            "MLServer, batching" if batching else "MLServer", process, f"{url}/infer", "{size}.mlserver.json"
        )


@contextmanager
def _server(command: list[str], environment: Mapping[str, str], ready: str) -> Iterator[psutil.Process]:
    """A server process in a group of its own, from ready to gone."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment, **THREADS},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if not _wait(process, ready):
                output.seek(0)
                raise SystemExit(f"{' '.join(command)} did not get ready:\n{output.read()[-2000:]}")
            yield psutil.Process(process.pid)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, seconds: float = 90) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def _environment() -> str | None:
    """The Python of an environment with the contenders, made by uv once and kept; None where it cannot be."""
    requirements = HERE / "contenders.txt"
    name = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vertex-mlops-accelerator"
    folder = cache / "benchmarks" / f"prediction-{name}"
    python = folder / "bin" / "python"
    if (folder / ".complete").exists():
        return str(python)
    uv = [sys.executable, "-m", "uv"]
    for command in (
        [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [*uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(requirements)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            print(f"FastAPI and MLServer are left out, they cannot be installed: {done.stderr.strip()[-300:]}")
            return None
    (folder / ".complete").touch()
    return str(python)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without MLServer and FastAPI")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are ended in every case
    run(given.seconds, given.rounds, others=not given.alone)
