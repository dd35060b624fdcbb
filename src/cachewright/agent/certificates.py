"""Who vouches for the nodes that speak TLS? An authority of this state folder signs for each.

`ca.key` and `ca.pem` lie in the state folder: clients get the second one, nobody gets the first.
Both are made when they are first needed, and never again. A node's key and certificate are made
anew for each start and name the address that it listens on. May not know what they are used for.

Imported only when somebody needs a certificate: the library behind it takes 40 ms.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cachewright.kit import files
from cachewright.model.errors import Terminal

CERTIFICATE_NAME = "ca.pem"
KEY_NAME = "ca.key"
#: A node gets a new certificate with each start, so this is the longest that one may run.
_NODE_DAYS = 3650
#: Clients keep it: three times as long.
_AUTHORITY_DAYS = 3 * _NODE_DAYS
#: For clients whose clock is behind.
_EARLIER = datetime.timedelta(days=1)
_COMMON_NAME_CHARS_MAX = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """What one node needs to speak TLS, in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)
    #: The certificate of who signed it.
    authority: bytes


class Authority:
    """The authority of one state folder."""

    def __init__(self, folder: Path) -> None:
        self._key = folder / KEY_NAME
        self._certificate = folder / CERTIFICATE_NAME

    def certificate(self) -> bytes:
        """Return its certificate in PEM; make it if there is none.

        Raises:
            Terminal: the files do not belong together, or one is missing.
            OSError: they cannot be read or written.
        """
        return self._load()[1].public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, address: str) -> Certificate:
        """Return a new key, and a certificate of it for `address`.

        Args:
            name: Whose it is, for people.
            address: An IP address, which clients find in the certificate.
        """
        authority_key, authority = self._load()
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = (
            _builder(_name(name), authority.subject, key.public_key(), _NODE_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(alternatives, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
                critical=False,
            )
        )
        return Certificate(
            certificate=builder.sign(authority_key, hashes.SHA256()).public_bytes(
                serialization.Encoding.PEM
            ),
            key=_key_bytes(key),
            authority=authority.public_bytes(serialization.Encoding.PEM),
        )

    def _load(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        """Read both, or make them: the key first, so that a certificate always has one."""
        if not self._certificate.exists():
            if not self._key.exists():
                _create(self._key, _key_bytes(ec.generate_private_key(ec.SECP256R1())))
            made = _self_signed(self._read_key())
            _create(self._certificate, made.public_bytes(serialization.Encoding.PEM))
        key = self._read_key()
        try:
            certificate = x509.load_pem_x509_certificate(self._certificate.read_bytes())
        except ValueError as error:
            raise _unusable(self._certificate, "is no certificate") from error
        if certificate.public_key() != key.public_key():
            raise _unusable(self._certificate, f"does not belong to {KEY_NAME}")
        return key, certificate

    def _read_key(self) -> ec.EllipticCurvePrivateKey:
        try:
            key = serialization.load_pem_private_key(self._key.read_bytes(), password=None)
        except FileNotFoundError as error:
            raise _unusable(self._key, "is missing") from error
        except (ValueError, TypeError) as error:
            raise _unusable(self._key, "is no private key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise _unusable(self._key, "is a key of another kind")
        return key


def _create(path: Path, content: bytes) -> None:
    """Write a private file unless there is one: of two who do it at once, both find the same."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        files.write_private(fresh, content)
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    files.sync_folder(path.parent)


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("Cachewright authority")
    return (
        _builder(name, name, key.public_key(), _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    # The time of the world, for clients read it on their own clocks.
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    common = text[:_COMMON_NAME_CHARS_MAX]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _unusable(path: Path, what: str) -> Terminal:
    hint = f"restore it, or remove {KEY_NAME} and {CERTIFICATE_NAME}: clients then need the new one"
    return Terminal(f"{path} {what}", hint=hint)
