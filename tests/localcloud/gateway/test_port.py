"""The port as clients meet it: both transports, errors, what it refuses, what it tunnels."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import stat
import threading
from typing import Any

import google.api_core.exceptions as exceptions
import pytest
import requests
from cryptography import x509
from google.cloud import aiplatform_v1, aiplatform_v1beta1, resourcemanager_v3
from tests.conftest import LocalCloud

ENDPOINT = {"api_endpoint": "us-central1-aiplatform.googleapis.com"}
TRANSPORTS = pytest.mark.parametrize("transport", ["grpc", "rest"])


@TRANSPORTS
def test_both_transports_answer(project: str, transport: str) -> None:
    found = resourcemanager_v3.ProjectsClient(transport=transport).get_project(name=f"projects/{project}")
    assert found.project_id == project
    assert found.name.removeprefix("projects/").isdigit()


@TRANSPORTS
def test_what_is_not_implemented_is_named(project: str, transport: str) -> None:
    client = resourcemanager_v3.ProjectsClient(transport=transport)
    with pytest.raises(exceptions.MethodNotImplemented, match="resourcemanager.v3.Projects.DeleteProject"):
        client.delete_project(name=f"projects/{project}")


@TRANSPORTS
@pytest.mark.parametrize("api", [aiplatform_v1, aiplatform_v1beta1])
def test_missing_required_fields_are_named(project: str, transport: str, api: Any) -> None:
    client = api.JobServiceClient(client_options=ENDPOINT, transport=transport)
    # over REST the client's error class goes by the status alone
    with pytest.raises(exceptions.BadRequest, match=r"custom_job\.display_name.*custom_job\.job_spec"):
        client.create_custom_job(parent=f"projects/{project}/locations/us-central1", custom_job=api.CustomJob(name="x"))


def test_an_unknown_google_host_is_refused_here(cloud: LocalCloud) -> None:
    answer = requests.get("https://vision.googleapis.com/v1/images:annotate", timeout=10)
    assert answer.status_code == 501
    assert "vision.googleapis.com" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/bigquery/v2/projects/{project}/datasets", "/storage/v1/b?project={project}"])
def test_apis_share_a_host_by_their_paths(project: str, path: str) -> None:
    answer = requests.get(f"https://www.googleapis.com{path.format(project=project)}", timeout=10)
    assert answer.status_code == 200
    assert answer.json()["kind"] in ("bigquery#datasetList", "storage#buckets")


def test_an_unknown_path_is_not_found(cloud: LocalCloud) -> None:
    answer = requests.get("https://cloudresourcemanager.googleapis.com/v3/nonsense", timeout=10)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:80"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({}, 200),
    ],
)
def test_pages_of_other_origins_drive_nothing(cloud: LocalCloud, headers: dict[str, str], status: int) -> None:
    assert requests.get(f"{cloud.url}/status", headers=headers, timeout=10).status_code == status


def test_the_console_cannot_be_framed(cloud: LocalCloud) -> None:
    answer = requests.get(cloud.url, timeout=10)
    assert answer.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "Local cloud" in answer.text


def test_it_listens_on_loopback_alone(cloud: LocalCloud) -> None:
    address = socket.gethostbyname(socket.gethostname())
    if address.startswith("127."):
        # the machine has no other name for itself; the kernel's table says the same
        with open(f"/proc/{cloud.process.pid}/net/tcp") as table:
            listening = [line.split()[1] for line in table if line.split()[3] == "0A"]
        assert f"0100007F:{cloud.port:04X}" in listening
        assert f"00000000:{cloud.port:04X}" not in listening
        return
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address, cloud.port), timeout=2)


def test_the_authority_is_private_and_narrow(cloud: LocalCloud) -> None:
    key = cloud.root / "tls" / "ca.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    authority = x509.load_pem_x509_certificate((cloud.root / "tls" / "ca.pem").read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert {name.value for name in constraints.value.permitted_subtrees or ()} >= {"googleapis.com", "run.app"}
    assert "com" not in {name.value for name in constraints.value.permitted_subtrees or ()}


def test_other_hosts_are_tunnelled_untouched(cloud: LocalCloud) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def echo() -> None:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data[::-1])

        thread = threading.Thread(target=echo)
        thread.start()
        with socket.create_connection(("127.0.0.1", cloud.port), timeout=10) as client:
            client.sendall(f"CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
            client.sendall(b"abc")
            assert client.recv(1000) == b"cba"
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_a_host_that_cannot_be_reached_is_a_bad_gateway(cloud: LocalCloud) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    with socket.create_connection(("127.0.0.1", cloud.port), timeout=10) as client:
        client.sendall(f"CONNECT localhost:{free} HTTP/1.1\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 502")


@pytest.mark.parametrize("data", [b"", b"\x16", b"\x16\x03\x01\x00\x05hello", b"nonsense\r\n\r\n", b"CONNECT \r\n\r\n"])
def test_nonsense_does_not_hurt(cloud: LocalCloud, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", cloud.port), timeout=10) as client:
        client.sendall(data)
    assert requests.get(f"{cloud.url}/status", timeout=10).ok


def test_clients_without_alpn_get_http1(cloud: LocalCloud) -> None:
    """httplib2, bq and gsutil offer no ALPN."""
    context = ssl.create_default_context(cafile=str(cloud.root / "tls" / "bundle.pem"))
    connection = http.client.HTTPSConnection("127.0.0.1", cloud.port, context=context, timeout=10)
    connection.set_tunnel("cloudresourcemanager.googleapis.com")
    connection.request("GET", "/v1/projects/my-project")
    assert json.load(connection.getresponse())["projectId"] == "my-project"
    connection.close()


def test_tokens_are_handed_out(cloud: LocalCloud) -> None:
    import google.auth
    import google.auth.transport.requests

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    with requests.Session() as session:
        credentials.refresh(google.auth.transport.requests.Request(session))
    assert credentials.token
    assert stat.S_IMODE(os.stat(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).st_mode) == 0o600
