"""Does everything that is signed check out, and only that, whoever dies or tries at once?"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from cachewright.agent.certificates import Authority, Certificate
from cachewright.model.errors import Terminal

ADDRESS = "127.64.1.2"


def handshake(folder: Path, issued: Certificate, authority: bytes, address: str) -> None:
    """Let a client and a server shake hands in memory; raises what the client says."""
    (folder / "node.crt").write_bytes(issued.certificate)
    (folder / "node.key").write_bytes(issued.key)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "node.crt", folder / "node.key")
    asking = ssl.create_default_context(cadata=authority.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server, server_hostname=address)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() == "TLSv1.3"


def test_a_client_with_the_certificate_of_the_authority_trusts_a_node(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("g.0001", ADDRESS)
    assert issued.authority == authority.certificate()
    handshake(tmp_path, issued, authority.certificate(), ADDRESS)
    with pytest.raises(ssl.SSLCertVerificationError, match="address"):
        handshake(tmp_path, issued, authority.certificate(), "127.64.1.3")
    (tmp_path / "other").mkdir()
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        handshake(tmp_path, issued, Authority(tmp_path / "other").certificate(), ADDRESS)


def test_a_node_cannot_sign_for_others(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("g.0001", ADDRESS)
    certificate = x509.load_pem_x509_certificate(issued.certificate)
    extensions = certificate.extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_the_authority_stays_and_every_node_has_a_key_of_its_own(tmp_path: Path) -> None:
    first = Authority(tmp_path).issue("g.0001", ADDRESS)
    second = Authority(tmp_path).issue("g.0001", ADDRESS)
    assert first.authority == second.authority
    assert first.key != second.key
    for name in ("ca.key", "ca.pem"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.key", "ca.pem"]
    assert "PRIVATE" not in repr(first)


def test_two_who_make_it_at_once_get_the_same(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(Authority(tmp_path).certificate()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_who_died_in_between_goes_on(tmp_path: Path) -> None:
    Authority(tmp_path).certificate()
    key = (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.pem").unlink()
    issued = Authority(tmp_path).issue("g.0001", ADDRESS)
    handshake(tmp_path, issued, Authority(tmp_path).certificate(), ADDRESS)
    assert (tmp_path / "ca.key").read_bytes() == key


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("ca.key", None, "ca.key is missing"),
        ("ca.key", b"nothing", "ca.key is no private key"),
        ("ca.pem", b"nothing", "ca.pem is no certificate"),
        ("ca.key", "of another", "does not belong to ca.key"),
    ],
)
def test_what_does_not_belong_together_is_said_and_left(
    tmp_path: Path, name: str, content: bytes | str | None, words: str
) -> None:
    Authority(tmp_path).certificate()
    before = (tmp_path / "ca.pem").read_bytes()
    if content is None:
        (tmp_path / name).unlink()
    elif isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        (tmp_path / "other").mkdir()
        Authority(tmp_path / "other").certificate()
        (tmp_path / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(Terminal, match=words):
        Authority(tmp_path).issue("g.0001", ADDRESS)
    if name != "ca.pem":
        assert (tmp_path / "ca.pem").read_bytes() == before
