"""A public image at its first use: Google's prebuilt scikit-learn server, with Google's own model server in it."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from localcloud.runtime import ContainerSpec

if TYPE_CHECKING:
    from pathlib import Path

    from tests.localcloud.runtime.conftest import Place

FIT = """
import joblib
from sklearn.linear_model import LinearRegression
joblib.dump(LinearRegression().fit([[0], [1], [2]], [0, 2, 4]), "model.joblib")
"""


def test_the_prebuilt_sklearn_server_serves(place: Place, tmp_path: Path) -> None:
    said: list[str] = []
    image = place.runtime.images.resolve("europe-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6", said.append)
    assert "building the equivalent environment at its first use" in said[0]
    code, output = place.run("python", "-c", FIT, image=image, mounts={"/model": tmp_path}, workdir="/model")
    assert code == 0, output
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        "AIP_HTTP_PORT": str(port),
        "AIP_HEALTH_ROUTE": "/health",
        "AIP_PREDICT_ROUTE": "/predict",
        "AIP_STORAGE_URI": str(tmp_path),
    }
    server = place.runtime.start(ContainerSpec("server", image, env=env, mounts={str(tmp_path): tmp_path}))
    until = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).close()
            break
        except urllib.error.URLError:
            assert server.poll() is None, server.tail()
            assert time.monotonic() < until, server.tail()
            time.sleep(0.1)
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict",
        data=json.dumps({"instances": [[3], [10]]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        predictions = json.load(answer)["predictions"]
    assert [round(value, 6) for value in predictions] == [6, 20]
    assert server.stop(30) == 143
