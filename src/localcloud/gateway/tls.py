"""The local cloud's own certificate authority, and the certificates that Google's host names get from it.

The authority can sign for Google's domains and nothing else (name constraints), and its key is readable by its
owner alone: trusting it for one process at a time gives nobody anything over the rest of the web.
"""

from __future__ import annotations

import datetime
import os
import ssl
import tempfile
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from localcloud.gateway.hosts import GOOGLE_DOMAINS

_DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority kept in a folder: made at first use, used again after that."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.certificate_file = folder / "ca.pem"
        key_file = folder / "ca.key"
        if not (self.certificate_file.exists() and key_file.exists()):
            key = ec.generate_private_key(ec.SECP256R1())
            write_private(key_file, _pem_key(key))
            self.certificate_file.write_bytes(_authority_certificate(key).public_bytes(serialization.Encoding.PEM))
        loaded = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        self._key = loaded
        self._certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())

    def issue(self, *names: str) -> tuple[bytes, bytes]:
        """A key and a certificate for host names (or wildcards), both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + 90 * _DAY)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _pem_key(key), certificate.public_bytes(serialization.Encoding.PEM)

    @lru_cache(maxsize=256)  # noqa: B019 - one authority lives as long as the server
    def context(self, host: str) -> ssl.SSLContext:
        """What the HTTP side needs to be `host`. Names under one parent share a wildcard certificate."""
        parent = host.partition(".")[2]
        key, certificate = self.issue(host, f"*.{parent}") if parent.count(".") >= 1 else self.issue(host)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        # load_cert_chain reads files alone; the folder is private and the files are gone at once
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            key_file, certificate_file = Path(scratch) / "key.pem", Path(scratch) / "certificate.pem"
            write_private(key_file, key)
            certificate_file.write_bytes(certificate)
            context.load_cert_chain(certificate_file, key_file)
        return context

    def grpc_chain(self) -> tuple[bytes, bytes]:
        """The key and certificate for gRPC, which cannot choose by name: all API hosts have one wildcard."""
        return self.issue("googleapis.com", "*.googleapis.com", "*.mtls.googleapis.com")


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner can read, from its first moment on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _authority_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Local cloud on this machine")])
    now = datetime.datetime.now(datetime.UTC)
    # DNS subtrees alone: with an IP subtree gRPC refuses the authority
    permitted = [x509.DNSName(domain) for domain in GOOGLE_DOMAINS]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 3650 * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints(permitted, excluded_subtrees=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
