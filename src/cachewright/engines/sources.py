"""Where does this host get its packages from, and whose signatures does it trust for them?

Reads the host's own apt sources in both of their forms; the result is used with another suite of
the same archive and the same keyring. Never writes, and never carries over an option that turns
verification off (`trusted=yes`).

Source: sources.list(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: An entry with one of these suites (or their -updates, -backports) names the archive itself; the
#: security archive is another one and has none of the suites we need.
_DEBIAN_SUITE = re.compile(
    r"(bullseye|bookworm|trixie|forky|sid|oldstable|stable|testing|unstable)(-updates|-backports)?"
)
_LINE = re.compile(
    r"\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>[^#]*)"
)
_COMPONENT = "main"
_NO = frozenset({"no", "false", "0", "off", "without", "disable"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One archive of packages."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    #: Value of `Signed-By`: paths, fingerprints or a whole key; empty means apt's own keyrings.
    signed_by: str

    @property
    def is_debian_archive(self) -> bool:
        """Whether other Debian suites are found beside the suites of this entry."""
        return _COMPONENT in self.components and any(
            _DEBIAN_SUITE.fullmatch(suite) for suite in self.suites
        )


def debian_archive(apt_folder: Path) -> Source | None:
    """Return the entry of the Debian archive of a host; `None` when it has none."""
    for source in read_sources(apt_folder):
        if source.is_debian_archive:
            return source
    return None


def read_sources(apt_folder: Path) -> Iterator[Source]:
    """Yield the enabled entries for binary packages; files that cannot be read are passed over."""
    parts = apt_folder / "sources.list.d"
    names = sorted(parts.glob("*.list")) + sorted(parts.glob("*.sources"))
    for path in [apt_folder / "sources.list", *names]:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        yield from parse_stanzas(text) if path.suffix == ".sources" else parse_lines(text)


def parse_lines(text: str) -> Iterator[Source]:
    """Parse the one-line form: `deb [option=value ...] uri suite component ...`."""
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None or not _is_reachable(match["uri"]):
            continue
        options = dict(part.partition("=")[::2] for part in (match["options"] or "").split())
        yield Source(
            uris=(match["uri"],),
            suites=(match["suite"],),
            components=tuple(match["components"].split()),
            signed_by=options.get("signed-by", "").replace(",", " "),
        )


def parse_stanzas(text: str) -> Iterator[Source]:
    """Parse the deb822 form: stanzas of `Field: value` with continuation lines."""
    for fields in paragraphs(text):
        uris = tuple(uri for uri in fields.get("uris", "").split() if _is_reachable(uri))
        is_enabled = fields.get("enabled", "yes").lower() not in _NO
        if is_enabled and uris and "deb" in fields.get("types", "").split():
            yield Source(
                uris=uris,
                suites=tuple(fields.get("suites", "").split()),
                components=tuple(fields.get("components", "").split()),
                signed_by=fields.get("signed-by", ""),
            )


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Yield the paragraphs of a Debian control file, with field names in lower case.

    Lines of a longer value are kept with their leading space, as the same format needs them.
    """
    fields: dict[str, str] = {}
    last = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, last = {}, ""
        elif line[0] in " \t":
            if last:
                fields[last] += "\n" + line
        else:
            name, _, value = line.partition(":")
            last = name.strip().lower()
            fields[last] = value.strip()


def _is_reachable(uri: str) -> bool:
    """Whether apt can fetch from `uri` without a person who changes a disc."""
    return ":" in uri and not uri.startswith("cdrom:")
