"""A host's apt sources are read in both forms, and only a Debian archive is taken from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachewright.engines import sources

ONE_LINE = """\
# a comment
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
deb-src http://archive.example.invalid/debian bookworm main
deb [arch=amd64] https://tools.example.invalid/apt stable-tools main
deb http://security.example.invalid/debian-security bookworm-security main
deb [ arch=amd64 signed-by=/keys/a.gpg,/keys/b.gpg ] http://archive.example.invalid/debian \
bookworm-updates main contrib # trailing
"""

DEB822 = """\
Types: deb
Enabled: no
URIs: http://disabled.example.invalid/debian
Suites: bookworm
Components: main

Types: deb deb-src
# a comment inside a stanza
URIs: http://archive.example.invalid/debian
  http://second.example.invalid/debian
Suites: trixie trixie-updates
components: main
Trusted: yes
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEZ
"""


def host(folder: Path, *, lines: str = "", stanzas: str = "") -> Path:
    parts = folder / "sources.list.d"
    parts.mkdir()
    (folder / "sources.list").write_text(lines)
    (parts / "debian.sources").write_text(stanzas)
    return folder


def test_one_line_entry_keeps_its_keyrings(tmp_path: Path) -> None:
    archive = sources.debian_archive(host(tmp_path, lines=ONE_LINE))
    assert archive == sources.Source(
        uris=("http://archive.example.invalid/debian",),
        suites=("bookworm-updates",),
        components=("main", "contrib"),
        signed_by="/keys/a.gpg /keys/b.gpg",
    )


def test_stanza_keeps_all_its_mirrors_and_a_key_that_is_written_out(tmp_path: Path) -> None:
    archive = sources.debian_archive(host(tmp_path, stanzas=DEB822))
    assert archive is not None
    assert [uri.split("/")[2].split(".")[0] for uri in archive.uris] == ["archive", "second"]
    assert archive.suites == ("trixie", "trixie-updates")
    assert archive.signed_by == "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEZ"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(
            "deb http://archive.example.invalid/ubuntu noble main", id="another distribution"
        ),
        pytest.param(
            "deb http://archive.example.invalid/debian bookworm contrib", id="without main"
        ),
        pytest.param(
            "deb http://s.example.invalid/debian-security trixie-security main", id="security"
        ),
        pytest.param(
            "# deb http://archive.example.invalid/debian bookworm main", id="switched off"
        ),
        pytest.param("deb", id="half a line"),
    ],
)
def test_host_without_debian_archive_has_none(tmp_path: Path, line: str) -> None:
    assert sources.debian_archive(host(tmp_path, lines=line)) is None


def test_host_without_apt_has_none(tmp_path: Path) -> None:
    assert sources.debian_archive(tmp_path / "missing") is None
