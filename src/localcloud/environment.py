"""The local target: the environment variables that point any program at the local cloud.

There is nothing else to it: no program knows which cloud it talks to. What was tried, client by client, stands in
docs/local-target.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import certifi
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from localcloud.gateway.tls import write_private

DEFAULT_PROJECT = "local-project"
TOKEN = "local-cloud-access-token"
"""Worth nothing anywhere: the local cloud takes it, and Google refuses it."""

_BUNDLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "HTTPLIB2_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "NODE_EXTRA_CA_CERTS",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
)


def variables(root: Path, port: int, *, project: str = "", before: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of the local target.

    Args:
        root: The state folder of a local cloud whose files `prepare` has made.
        port: Its port.
        project: The project that clients take where they are told none.
        before: The machine's own environment.
    """
    bundle = str(root / "tls" / "bundle.pem")
    proxy = f"http://127.0.0.1:{port}"
    project = project or before.get("GOOGLE_CLOUD_PROJECT") or DEFAULT_PROJECT
    return {
        # gRPC and requests read the lower case; some tools read the upper one alone
        "https_proxy": proxy,
        "HTTPS_PROXY": proxy,
        "no_proxy": "localhost,127.0.0.1",
        "NO_PROXY": "localhost,127.0.0.1",
        **dict.fromkeys(_BUNDLES, bundle),
        "GOOGLE_APPLICATION_CREDENTIALS": str(root / "credentials.json"),
        "GOOGLE_CLOUD_PROJECT": project,
        "GCE_METADATA_HOST": f"127.0.0.1:{port}",
        "NO_GCE_CHECK": "true",
        "CLOUDSDK_CONFIG": str(root / "gcloud"),
        "CLOUDSDK_CORE_PROJECT": project,
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(root / "access-token"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        # gcsfs speaks aiohttp, which ignores proxies unless told not to, and would try gRPC on its own
        "FSSPEC_GCS": json.dumps({"session_kwargs": {"trust_env": True}}),
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        # what the generic prediction container listens on; Vertex AI wants every address, a laptop this one
        "AIP_HTTP_HOST": "127.0.0.1",
    }


def prepare(root: Path, port: int, authority: Path, before: Mapping[str, str] = os.environ) -> None:
    """Makes the files that the variables name: the trust bundle and credentials that are worthless elsewhere."""
    trusted = next((Path(path) for name in _BUNDLES if (path := before.get(name)) and Path(path).is_file()), None)
    own = authority.read_bytes()
    inherited = (trusted or Path(certifi.where())).read_bytes().replace(own, b"")
    (root / "tls" / "bundle.pem").write_bytes(inherited.rstrip() + b"\n" + own)
    (root / "gcloud").mkdir(exist_ok=True, mode=0o700)
    write_private(root / "access-token", TOKEN.encode())
    credentials = root / "credentials.json"
    token_uri = f"http://127.0.0.1:{port}/token"
    kept = json.loads(credentials.read_bytes()) if credentials.exists() else None
    if kept is None or kept["token_uri"] != token_uri:
        private_key = kept["private_key"] if kept else _private_key()
        write_private(credentials, json.dumps(_service_account(private_key, token_uri), indent=2).encode())


def _service_account(private_key: str, token_uri: str) -> dict[str, str]:
    return {
        "type": "service_account",
        "project_id": DEFAULT_PROJECT,
        "private_key_id": "local",
        "private_key": private_key,
        "client_email": f"local@{DEFAULT_PROJECT}.iam.gserviceaccount.com",
        "client_id": "0",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_uri,
        "universe_domain": "googleapis.com",
    }


def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
