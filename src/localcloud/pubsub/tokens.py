"""OpenID Connect tokens for push requests, signed by a key of this local cloud's own.

Who receives them can check them against the public key beside the private one; to Google they are worth nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER = "https://accounts.google.com"
_LIFETIME = 3600
_RENEW = 300


class Signer:
    """Makes tokens (RS256) and keeps each until shortly before it runs out.

    Args:
        folder: Where the key `oidc-key.pem` and its public half `oidc-jwks.json` lie; they are made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key: rsa.RSAPrivateKey | None = None
        self._tokens: dict[tuple[str, str], tuple[float, str]] = {}

    def token(self, audience: str, email: str) -> str:
        """A token of a service account for whoever answers at `audience`."""
        now = time.time()
        expiry, token = self._tokens.get((audience, email), (0.0, ""))
        if expiry - _RENEW < now:
            expiry = now + _LIFETIME
            token = self._sign(audience, email, int(now))
            self._tokens[audience, email] = expiry, token
        return token

    def _sign(self, audience: str, email: str, now: int) -> str:
        key = self._key = self._key or self._load()
        # Google numbers its accounts with 21 digits; the number of one address is always the same.
        number = str(10**20 + int.from_bytes(hashlib.sha256(email.encode()).digest()[:8], "big"))
        claims = {
            "aud": audience,
            "azp": number,
            "email": email,
            "email_verified": True,
            "exp": now + _LIFETIME,
            "iat": now,
            "iss": ISSUER,
            "sub": number,
        }
        header = {"alg": "RS256", "kid": _key_id(key), "typ": "JWT"}
        content = f"{_encode(_json(header))}.{_encode(_json(claims))}"
        signature = key.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{content}.{_encode(signature)}"

    def _load(self) -> rsa.RSAPrivateKey:
        path = self._folder / "oidc-key.pem"
        if path.exists():
            found = serialization.load_pem_private_key(path.read_bytes(), password=None)
            if isinstance(found, rsa.RSAPrivateKey):
                return found
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        scratch = path.with_suffix(".new")
        scratch.unlink(missing_ok=True)
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        (self._folder / "oidc-jwks.json").write_bytes(_json({"keys": [_public(key)]}))
        scratch.replace(path)
        return key


def _public(key: rsa.RSAPrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
    exponent = numbers.e.to_bytes(3, "big")
    return {
        "alg": "RS256",
        "e": _encode(exponent),
        "kid": _key_id(key),
        "kty": "RSA",
        "n": _encode(modulus),
        "use": "sig",
    }


def _key_id(key: rsa.RSAPrivateKey) -> str:
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()[:40]


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
