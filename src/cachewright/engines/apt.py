"""How are signed packages of another suite fetched without touching the system?

A `PrivateApt` is apt-get with a state, a cache and a source list of its own inside one folder,
as any user. apt verifies the signatures as it always does; nothing here can switch that off.
The host's settings (proxies, certificates, credentials) stay in force; its hooks do not.

Source: apt.conf(5), sources.list(5); tried with apt 2.6.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cachewright.engines import bounded
from cachewright.engines.sources import Source, paragraphs
from cachewright.model.builds import InstallProblem

#: 11 MB for the biggest suite: 2 s here, and 0.3 Mbit/s is still enough.
UPDATE_TIMEOUT_S = 300.0
#: About 10 MB of packages.
DOWNLOAD_TIMEOUT_S = 300.0
#: Reads local files; the first call builds apt's cache in under a second.
SHOW_TIMEOUT_S = 60.0
#: Length of a line of apt that is passed on as a reason.
_REASON_CHARS_MAX = 300

PROGRAMS = ("apt-get", "apt-cache", "dpkg", "dpkg-deb")

_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
Dir::State "{folder}/state";
Dir::State::Lists "{folder}/state/lists";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "{folder}/cache/archives";
Dir::Cache::pkgcache "packages.bin";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "{folder}/archive.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architectures {{ "{architecture}"; }};
APT::Default-Release "";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
"""


class CannotProvide(Exception):
    """Packages could not be had or used; `InstallFailed` without the name of the engine."""

    def __init__(self, problem: InstallProblem, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.problem = problem
        self.reason = reason
        self.hint = hint


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """What the archive says of a package."""

    name: str
    version: str
    size_bytes: int
    #: Each entry is a choice of names, the preferred one first.
    depends: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Symptom:
    pattern: re.Pattern[str]
    problem: InstallProblem
    hint: str


#: What apt says when it fails, the most telling first: without network it also misses files.
_SYMPTOMS = (
    _Symptom(
        pattern=re.compile(
            r"No space left on device|Disk quota exceeded|enough free space|Wrote only"
        ),
        problem=InstallProblem.DISK_FULL,
        hint="free some space or set CACHEWRIGHT_ENGINES_DIR to another disk",
    ),
    _Symptom(
        pattern=re.compile(
            r"Temporary failure resolving|Could not resolve|Could not connect|Unable to connect"
            r"|Connection (failed|timed out|refused)|Network is unreachable|Cannot initiate"
            r"|Failed to connect",
            re.IGNORECASE,
        ),
        problem=InstallProblem.NO_NETWORK,
        hint="check that `apt-get update` works on this host",
    ),
    _Symptom(
        pattern=re.compile(r"is not valid yet|Release file .* is expired"),
        problem=InstallProblem.BAD_SIGNATURE,
        hint="check the clock of this host, or its mirror is stale",
    ),
    _Symptom(
        pattern=re.compile(
            r"NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|GPG error|is not signed\.|Missing key "
            r"|signatures? (couldn't|were|verification)|invalid signature|Clearsigned file"
            r"|unauthenticated|Hash Sum mismatch"
        ),
        problem=InstallProblem.BAD_SIGNATURE,
        hint="the keyring of this host does not vouch for the suite: update the package "
        "debian-archive-keyring, or check the mirror",
    ),
    _Symptom(
        pattern=re.compile(r"does not have a Release file|404 +Not Found|Unable to locate package"),
        problem=InstallProblem.NOT_IN_SUITE,
        hint="the mirror in this host's apt sources does not carry the suite",
    ),
)


def diagnose(said: str) -> CannotProvide:
    """Turn what apt said while failing into an error with a reason and a hint."""
    lines = [line for line in said.splitlines() if re.match(r"(E|W|Err)\b", line)] or [said.strip()]
    for symptom in _SYMPTOMS:
        for line in lines:
            if symptom.pattern.search(line):
                return CannotProvide(symptom.problem, _presentable(line), symptom.hint)
    return CannotProvide(
        InstallProblem.BROKEN,
        _presentable(lines[0]),
        "run `apt-get update` to see whether apt works",
    )


def _presentable(line: str) -> str:
    """Shorten a line of apt and hide credentials that an address may carry."""
    line = re.sub(r"^(E|W|Err): *", "", line.strip())
    return re.sub(r"://[^/@\s]+@", "://", line)[:_REASON_CHARS_MAX] or "apt gave no reason"


class PrivateApt:
    """apt with everything that it writes inside `folder`, for some suites of one archive."""

    def __init__(self, folder: Path, source: Source, suites: Sequence[str]) -> None:
        if re.search(r'["\\\x00-\x1f]', str(folder)):
            raise CannotProvide(
                InstallProblem.BROKEN,
                f"apt cannot work in a folder named {str(folder)!r}",
                "set CACHEWRIGHT_ENGINES_DIR to a path without quotes and control characters",
            )
        self._folder = folder
        self._configuration = folder / "apt.conf"
        for part in ("state/lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        (folder / "state/status").touch()
        architecture = bounded.run(["dpkg", "--print-architecture"], timeout_s=10).stdout.strip()
        self._configuration.write_text(
            _CONFIGURATION.format(folder=folder, architecture=architecture)
        )
        (folder / "archive.sources").write_text(_render_source(source, suites))

    def update(self) -> None:
        """Fetch and verify the package lists."""
        self._run("apt-get", "update", timeout_s=UPDATE_TIMEOUT_S)

    def show(self, names: Sequence[str]) -> dict[str, Package]:
        """Return the packages that apt would choose for `names`; unknown names are left out."""
        asked = ["apt-cache", f"-c={self._configuration}", "show", "--no-all-versions", *names]
        said = _bounded(asked, timeout_s=SHOW_TIMEOUT_S, cwd=self._folder)
        packages = (_package(fields) for fields in paragraphs(said.stdout) if "package" in fields)
        return {package.name: package for package in packages}

    def download(self, packages: Sequence[Package], into: Path) -> tuple[Path, ...]:
        """Fetch and verify `packages`; return the archives in `into`."""
        wanted = [f"{package.name}={package.version}" for package in packages]
        self._run("apt-get", "download", *wanted, timeout_s=DOWNLOAD_TIMEOUT_S, cwd=into)
        archives = tuple(sorted(into.glob("*.deb")))
        if len(archives) != len(packages):
            raise diagnose(f"E: {len(packages)} packages were asked for, {len(archives)} came")
        return archives

    def _run(
        self, program: str, *arguments: str, timeout_s: float, cwd: Path | None = None
    ) -> None:
        argv = [program, "-q=2", f"-c={self._configuration}", *arguments]
        finished = _bounded(argv, timeout_s=timeout_s, cwd=cwd or self._folder)
        if finished.returncode != 0:
            raise diagnose(finished.stderr)


def _bounded(argv: Sequence[str], *, timeout_s: float, cwd: Path) -> bounded.Finished:
    try:
        return bounded.run(argv, timeout_s=timeout_s, cwd=cwd)
    except bounded.RanAway as error:
        hint = "the mirror or the network is slow: try again"
        raise CannotProvide(InstallProblem.TOO_SLOW, str(error), hint) from error


def _render_source(source: Source, suites: Sequence[str]) -> str:
    """Return the deb822 entry of `suites` in the archive of `source`, for package lists only."""
    fields = {
        "Types": "deb",
        "URIs": " ".join(source.uris),
        "Suites": " ".join(suites),
        "Components": "main",
        "Targets": "Packages",
        "Signed-By": source.signed_by,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def _package(fields: dict[str, str]) -> Package:
    wanted = ", ".join(fields[name] for name in ("pre-depends", "depends") if name in fields)
    return Package(
        name=fields["package"],
        version=fields["version"],
        size_bytes=int(fields["size"]),
        depends=tuple(
            tuple(_bare_name(choice) for choice in group.split("|"))
            for group in wanted.split(",")
            if group.strip()
        ),
    )


def _bare_name(dependency: str) -> str:
    """Return the name in `libc6:any (>= 2.38)`."""
    return re.split(r"[:\s(\[]", dependency.strip(), maxsplit=1)[0]
