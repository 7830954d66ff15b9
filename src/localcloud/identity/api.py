"""OAuth's token endpoint, IAM credentials and the metadata server, as far as clients ask them for a token.

Whoever reaches the loopback port may use the local cloud; the tokens are worth nothing anywhere else.
"""

from __future__ import annotations

import json
import time

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from localcloud.environment import TOKEN
from localcloud.projects import number_of
from localcloud.service import Api, Cloud

_LIFETIME = 3600
"""Seconds, as Google's access tokens have."""
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_FLAVOR = {"Metadata-Flavor": "Google"}


def api(cloud: Cloud) -> Api:
    """The hosts that hand out tokens, and their paths on the loopback address."""
    identity = _Identity(cloud)
    routes = [
        Route("/token", identity.token, methods=["POST"]),
        Route("/oauth2/v4/token", identity.token, methods=["POST"]),
        Route("/tokeninfo", identity.token_info, methods=["GET", "POST"]),
        Route("/v1/projects/-/serviceAccounts/{email}/allowedLocations", identity.allowed_locations),
        Route("/v1/projects/-/serviceAccounts/{email}:generateAccessToken", identity.generate, methods=["POST"]),
        Route("/computeMetadata/v1/{path:path}", identity.metadata),
        Route("/", identity.root),
    ]
    return Api(
        name="identity",
        hosts=(
            "oauth2.googleapis.com",
            "accounts.google.com",
            "iamcredentials.googleapis.com",
            "iamcredentials.mtls.googleapis.com",
            "metadata.google.internal",
            "169.254.169.254",
        ),
        http=Starlette(routes=routes, exception_handlers={HTTPException: _refuse}),
        paths=("/token", "/computeMetadata/"),
    )


class _Identity:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._email = json.loads((cloud.root / "credentials.json").read_bytes())["client_email"]

    async def token(self, request: Request) -> Response:
        """RFC 7523 and refresh grants alike: a bearer token for an hour."""
        return JSONResponse({"access_token": TOKEN, "expires_in": _LIFETIME, "token_type": "Bearer"})

    async def token_info(self, request: Request) -> Response:
        """What gcloud asks about a token it was handed."""
        return JSONResponse({"email": self._email, "expires_in": _LIFETIME, "scope": _SCOPE})

    async def allowed_locations(self, request: Request) -> Response:
        """No trust boundary: `0x0` is how IAM says that."""
        return JSONResponse({"locations": [], "encodedLocations": "0x0"})

    async def generate(self, request: Request) -> Response:
        """A token for another service account: all are the same user of this machine here."""
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + _LIFETIME))
        return JSONResponse({"accessToken": TOKEN, "expireTime": expires})

    async def root(self, request: Request) -> Response:
        """Clients ping the metadata server by its root."""
        return PlainTextResponse("computeMetadata/\n", headers=_FLAVOR)

    async def metadata(self, request: Request) -> Response:
        """The entries of the metadata server that client libraries read."""
        if request.headers.get("metadata-flavor") != "Google":
            raise HTTPException(403, "Missing required header: Metadata-Flavor")
        project = self._cloud.environment()["GOOGLE_CLOUD_PROJECT"]
        account = {"aliases": ["default"], "email": self._email, "scopes": [_SCOPE]}
        path = request.path_params["path"].rstrip("/")
        texts = {
            "project/project-id": project,
            "project/numeric-project-id": number_of(project),
            "universe/universe-domain": "googleapis.com",
            "instance/service-accounts/default/email": self._email,
        }
        if path in texts:
            return PlainTextResponse(texts[path], headers=_FLAVOR)
        if path == "instance/service-accounts/default":
            return JSONResponse(account, headers=_FLAVOR)
        if path == "instance/service-accounts/default/token":
            token = {"access_token": TOKEN, "expires_in": _LIFETIME, "token_type": "Bearer"}
            return JSONResponse(token, headers=_FLAVOR)
        raise HTTPException(404, f"The local metadata server has no entry {path!r}.")


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = {403: "PERMISSION_DENIED", 404: "NOT_FOUND", 405: "UNIMPLEMENTED"}.get(error.status_code, "UNKNOWN")
    message = f"{error.detail} ({request.method} {request.url.path})"
    body = {"code": error.status_code, "message": message, "status": status}
    return JSONResponse({"error": body}, status_code=error.status_code)
