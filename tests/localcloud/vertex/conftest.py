"""Google's SDK pointed at the session's local cloud, a bucket with a model, and a small prediction container."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.cloud import aiplatform, storage
from tests.conftest import REGION, LocalCloud

IMAGE = "python:3.11"

SERVER = """
import http.server, json, os, signal, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200 if self.path == os.environ["AIP_HEALTH_ROUTE"] else 404, b"{}")
    def do_POST(self):
        assert self.path == os.environ["AIP_PREDICT_ROUTE"], self.path
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-type"] != "application/json":
            return self.answer(200, self.headers["content-type"].encode() + b":" + body, "text/plain")
        request = json.loads(body)
        order = (request["instances"] or [None])[0]
        if order == "die":
            os._exit(3)
        if order == "sleep":
            time.sleep(request["parameters"]["seconds"])
        if order == "refuse":
            return self.answer(request["parameters"]["status"], b'{"error": "no such feature"}')
        if order == "nonsense":
            return self.answer(200, b"<html>")
        if order == "environment":
            return self.answer(200, json.dumps({"predictions": [dict(os.environ)]}).encode())
        if order == "pid":
            return self.answer(200, json.dumps({"predictions": [os.getpid()]}).encode())
        if order == "stream":
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for number in range(3):
                piece = f"data: {number}\\n\\n".encode()
                self.wfile.write(f"{len(piece):x}\\r\\n".encode() + piece + b"\\r\\n")
                self.wfile.flush()
            self.wfile.write(b"0\\r\\n\\r\\n")
            return
        self.answer(200, json.dumps({"predictions": request["instances"], "metadata": {"n": 1}}).encode())

print("serving", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["AIP_HTTP_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def sdk(cloud: LocalCloud, project: str) -> str:
    """google-cloud-aiplatform, set up as users do; gives the name of a bucket that is there."""
    bucket = f"{project}-bucket"
    storage.Client(project=project).create_bucket(bucket, location=REGION)
    aiplatform.init(project=project, location=REGION, staging_bucket=f"gs://{bucket}", api_transport="grpc")
    return bucket


@pytest.fixture
def artifact(sdk: str, project: str) -> str:
    """The gs:// folder of a model."""
    storage.Client(project=project).bucket(sdk).blob("model/model.joblib").upload_from_string(b"the model")
    return f"gs://{sdk}/model"


@pytest.fixture
def upload(artifact: str) -> Callable[..., aiplatform.Model]:
    """Uploads a model whose container answers with the instances it is sent."""

    def upload_model(**arguments: object) -> aiplatform.Model:
        given: dict[str, object] = {
            "display_name": "echo",
            "artifact_uri": artifact,
            "serving_container_image_uri": IMAGE,
            "serving_container_command": ["python3", "-c", SERVER],
            "serving_container_predict_route": "/predict",
            "serving_container_health_route": "/health",
        }
        return aiplatform.Model.upload(**{**given, **arguments})

    return upload_model
