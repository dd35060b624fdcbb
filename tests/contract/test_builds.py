"""Every build that is offered is what it says: it starts, and over the wire it says the same.

Builds are kept in the user's cache, so that only the first run fetches them. What is missing is
skipped with its reason on a person's machine and fails where `CI` is set.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

from cachewright.engines import apt, bounded, catalogue, debian, sources
from cachewright.model.builds import (
    Build,
    BuildSource,
    InstallFailed,
    InstallProblem,
    OfferState,
)
from cachewright.model.engines import EngineName

#: A start takes 10 ms; 6 workers on 2 cores stretch that.
START_TIMEOUT_S = 15.0
PORT = 6379
EMBEDDED = "embedded"
#: Every row of the suite table, written out: a row that is lost shall be noticed.
INSTALLABLE = {
    "valkey-9.1": (EngineName.VALKEY, "9.1"),
    "valkey-8.1": (EngineName.VALKEY, "8.1"),
    "valkey-8.0": (EngineName.VALKEY, "8.0"),
    "redis-7.0": (EngineName.REDIS, "7.0"),
    "memcached-1.6.45": (EngineName.MEMCACHED, "1.6.45"),
    "memcached-1.6.38": (EngineName.MEMCACHED, "1.6.38"),
    "memcached-1.6.18": (EngineName.MEMCACHED, "1.6.18"),
}


def miss(reason: str) -> NoReturn:
    """Skip on a person's machine, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def build_named(name: str) -> Build:
    known = catalogue.Catalogue()
    if name == EMBEDDED:
        found = [build for build in known.builds() if build.source is BuildSource.EMBEDDED]
        return found[0] if found else miss("the wheel has no engine for this platform")
    try:
        return known.install(*INSTALLABLE[name])
    except InstallFailed as error:
        miss(str(error))


def debian_archive() -> sources.Source:
    archive = debian.usable_archive(catalogue.APT_FOLDER)
    if archive is None:
        miss("this host has no apt with a Debian archive")
    return archive


@pytest.fixture(params=[EMBEDDED, *INSTALLABLE])
def build(request: pytest.FixtureRequest) -> Build:
    return build_named(request.param)


@pytest.fixture
def address() -> str:
    """A loopback address on which nothing listens."""
    for _ in range(100):
        # Beyond 127.64.0.0/10, which the service takes its addresses from.
        host = str(ipaddress.IPv4Address("127.200.0.1") + secrets.randbelow(50 * 2**16))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, PORT))
            return host
    pytest.fail("no free loopback address in 100 attempts")


@contextlib.contextmanager
def started(argv: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the block; it is gone after it."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=folder, stdout=output, stderr=output, env=bounded.plain_environment()
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def connected(host: str, process: subprocess.Popen[bytes], folder: Path) -> socket.socket:
    """Connect as soon as the server listens."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection((host, PORT), timeout=START_TIMEOUT_S)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            pytest.fail(f"the server ended: {(folder / 'log').read_text()}")
    pytest.fail(f"nothing listens: {(folder / 'log').read_text()}")


def ask_memcached(connection: socket.socket) -> str:
    connection.sendall(b"version\r\n")
    with connection.makefile("rb") as reply:
        return reply.readline().decode().split()[1]


def ask_info(connection: socket.socket, section: str) -> dict[str, str]:
    connection.sendall(f"INFO {section}\r\n".encode())
    with connection.makefile("rb") as reply:
        size = int(reply.readline()[1:])  # "$123"
        lines = reply.read(size).decode().splitlines()
    return dict(line.partition(":")[::2] for line in lines)


def version_over(connection: socket.socket, engine: EngineName) -> str:
    if engine is EngineName.MEMCACHED:
        return ask_memcached(connection)
    return ask_info(connection, "server")[f"{engine.value}_version"]


def arguments(build: Build, host: str, *, certificate: Path | None = None) -> list[str]:
    """The command line of a server on `host`; a certificate makes its only port a TLS port."""
    if build.engine is EngineName.MEMCACHED:
        tls = ["-Z", "-o", f"ssl_chain_cert={certificate},ssl_key={certificate}"]
        user = ["-u", "root"] if os.geteuid() == 0 else []
        return [
            build.server,
            "-l",
            host,
            "-p",
            str(PORT),
            "-U",
            "0",
            *user,
            *(tls if certificate else []),
        ]
    plain_port, tls_port = (0, PORT) if certificate else (PORT, 0)
    options = {"bind": host, "port": plain_port, "save": "", "protected-mode": "no"}
    if certificate:
        options |= {
            "tls-port": tls_port,
            "tls-cert-file": certificate,
            "tls-key-file": certificate,
            "tls-auth-clients": "no",
        }
    return [
        build.server,
        *(part for name, value in options.items() for part in (f"--{name}", str(value))),
    ]


def test_build_says_over_the_wire_what_the_catalogue_says(
    build: Build, address: str, tmp_path: Path
) -> None:
    with (
        started(arguments(build, address), tmp_path) as process,
        connected(address, process, tmp_path) as connection,
    ):
        assert version_over(connection, build.engine) == build.version
        if build.engine is not EngineName.MEMCACHED:
            assert ask_info(connection, "memory")["mem_allocator"] == build.allocator


#: Each library that a script may use must have come with the build.
SCRIPT = "return cjson.encode({struct.unpack('B', 'a'), bit.band(6, 3), #cmsgpack.pack(1)})"


@pytest.mark.parametrize(
    "name", [EMBEDDED, *(name for name in INSTALLABLE if "memcached" not in name)]
)
def test_scripts_have_their_libraries(name: str, address: str, tmp_path: Path) -> None:
    with (
        started(arguments(build_named(name), address), tmp_path) as process,
        connected(address, process, tmp_path) as connection,
        connection.makefile("rb") as reply,
    ):
        connection.sendall(f'EVAL "{SCRIPT}" 0\r\n'.encode())
        assert reply.readline() + reply.readline() == b"$8\r\n[97,2,1]\r\n"


def make_certificate(folder: Path) -> Path:
    if shutil.which("openssl") is None:
        miss("openssl makes the certificate of this test and is missing")
    path = folder / "both.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    argv += ["-nodes", "-subj", "/CN=test", "-days", "2", "-keyout", str(path)]
    certificate = subprocess.run(argv, check=True, capture_output=True).stdout
    path.write_bytes(path.read_bytes() + certificate)
    return path


def test_build_can_do_tls_exactly_if_it_says_so(build: Build, address: str, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    argv = arguments(build, address, certificate=certificate)
    if not build.has_tls:
        assert bounded.run(argv, timeout_s=START_TIMEOUT_S, cwd=tmp_path).returncode != 0
        return
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    with (
        started(argv, tmp_path) as process,
        connected(address, process, tmp_path) as plain,
        context.wrap_socket(plain) as connection,
    ):
        assert version_over(connection, build.engine) == build.version


@pytest.mark.parametrize("name", INSTALLABLE)
def test_fetched_build_uses_no_library_of_the_host(name: str) -> None:
    build = build_named(name)
    home = Path(build.server).parent.parent
    (loader,) = (home / "lib").glob("ld*.so*")
    assert (home / "lib" / "libgcc_s.so.1").exists()  # opened when a thread is cancelled
    for program in (home / "bin").iterdir():
        listed = bounded.run([str(loader), "--list", str(program)], timeout_s=10).stdout
        paths = [line.split("=>")[1].split()[0] for line in listed.splitlines() if "=>" in line]
        assert len(paths) > 3, listed
        assert {Path(path).resolve().is_relative_to(home) for path in paths} == {True}, listed


@pytest.mark.parametrize("name", INSTALLABLE)
def test_fetched_build_has_its_tools_and_tls(name: str) -> None:
    build = build_named(name)
    assert (build.source, build.has_tls) == (BuildSource.DEBIAN, True)
    tools = [tool for tool in (build.cli, build.benchmark) if tool is not None]
    assert len(tools) == (0 if build.engine is EngineName.MEMCACHED else 2)
    for tool in tools:
        assert build.version in bounded.run([tool, "--version"], timeout_s=10).stdout


@pytest.mark.parametrize("name", INSTALLABLE)
def test_fetched_build_is_preferred_and_offered_as_installed(name: str) -> None:
    build = build_named(name)
    known = catalogue.Catalogue(search_path="")
    assert known.best(*INSTALLABLE[name]) == build
    states = {
        offer.state
        for offer in known.offers()
        if (offer.engine, offer.api_version) == INSTALLABLE[name]
    }
    assert states == {OfferState.INSTALLED}


def test_everything_is_installable_on_a_host_with_apt(tmp_path: Path) -> None:
    debian_archive()
    offers = catalogue.Catalogue(tmp_path, search_path="").offers()
    states = {(offer.engine, offer.api_version, offer.version): offer.state for offer in offers}
    for engine, api_version in INSTALLABLE.values():
        assert states[engine, api_version, None] is OfferState.INSTALLABLE


INSTALL = """
import sys
from pathlib import Path
from cachewright.engines import catalogue
from cachewright.model.engines import EngineName
progress = lambda line: print(line, flush=True)
build = catalogue.Catalogue(Path(sys.argv[1])).install(EngineName.MEMCACHED, "1.6.38", progress)
print("installed", build.server)
"""


def installing(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", INSTALL, str(folder)], stdout=subprocess.PIPE, text=True
    )


def homes(folder: Path) -> list[str]:
    return [path.name for path in (folder / "debian").glob("*")]


def test_two_installs_at_once_end_in_one_build(tmp_path: Path) -> None:
    debian_archive()
    with installing(tmp_path) as first, installing(tmp_path) as second:
        said = [process.communicate(timeout=100)[0] for process in (first, second)]
    assert sum("fetching" in each for each in said) == 1, said
    servers = {each.splitlines()[-1] for each in said}
    (home,) = homes(tmp_path)
    assert servers == {f"installed {tmp_path}/debian/{home}/bin/memcached"}


def test_install_that_was_killed_leaves_no_build_and_is_done_again(tmp_path: Path) -> None:
    debian_archive()
    with installing(tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("checking"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert homes(tmp_path) == []
    assert (tmp_path / ".memcached-1.6.38.new").exists()
    again = catalogue.Catalogue(tmp_path).install(EngineName.MEMCACHED, "1.6.38")
    assert homes(tmp_path) == [f"memcached-{again.version}"]
    assert not (tmp_path / ".memcached-1.6.38.new").exists()


def local_archive(folder: Path, release: bytes | None, *, signed_by: str) -> Path:
    """Make an archive of one suite in a folder and the sources of a host that uses it."""
    suite = folder / "archive" / "dists" / "bookworm"
    suite.mkdir(parents=True)
    if release is not None:
        (suite / "InRelease").write_bytes(release)
    host = folder / "host"
    (host / "sources.list.d").mkdir(parents=True)
    key = "\n".join([f"Signed-By: {signed_by}"] if signed_by else [])
    (host / "sources.list.d" / "local.sources").write_text(
        f"Types: deb\nURIs: file:{folder}/archive\nSuites: bookworm\nComponents: main\n{key}\n"
    )
    return host


@pytest.fixture(scope="module")
def signed_release(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The release file of a real suite, as the host's mirror serves it and apt accepts it."""
    folder = tmp_path_factory.mktemp("apt")
    try:
        apt.PrivateApt(folder, debian_archive(), ["bookworm"]).update()
    except apt.CannotProvide as error:
        miss(str(error))
    (path,) = (folder / "state" / "lists").glob("*_InRelease")
    return path.read_bytes()


def refused(tmp_path: Path, host: Path) -> InstallFailed:
    folder = tmp_path / "engines"
    with pytest.raises(InstallFailed) as failed:
        catalogue.Catalogue(folder, apt_folder=host).install(EngineName.REDIS, "7.0")
    assert homes(folder) == []
    assert not (folder / ".redis-7.0.new").exists()
    return failed.value


def test_changed_release_file_is_refused(tmp_path: Path, signed_release: bytes) -> None:
    changed = signed_release.replace(b"Origin: Debian", b"Origin: Debiam", 1)
    assert changed != signed_release
    host = local_archive(tmp_path, changed, signed_by=debian_archive().signed_by)
    assert refused(tmp_path, host).problem is InstallProblem.BAD_SIGNATURE


def test_suite_that_the_keyring_does_not_know_is_refused_with_a_hint(
    tmp_path: Path, signed_release: bytes
) -> None:
    empty = tmp_path / "empty.gpg"
    empty.touch()
    host = local_archive(tmp_path, signed_release, signed_by=str(empty))
    error = refused(tmp_path, host)
    assert error.problem is InstallProblem.BAD_SIGNATURE
    assert "debian-archive-keyring" in error.hint


@pytest.mark.parametrize(
    ("release", "problem"),
    [
        pytest.param(
            b"Suite: bookworm\nCodename: bookworm\n", InstallProblem.BAD_SIGNATURE, id="unsigned"
        ),
        pytest.param(None, InstallProblem.NOT_IN_SUITE, id="missing suite"),
    ],
)
def test_archive_without_signature_is_refused(
    tmp_path: Path, release: bytes | None, problem: InstallProblem
) -> None:
    host = local_archive(tmp_path, release, signed_by=debian_archive().signed_by)
    assert refused(tmp_path, host).problem is problem


def test_verification_cannot_be_switched_off_by_the_sources_of_the_host(tmp_path: Path) -> None:
    debian_archive()
    host = local_archive(tmp_path, b"Suite: bookworm\n", signed_by="")
    (host / "sources.list").write_text(
        f"deb [trusted=yes allow-insecure=yes] file:{tmp_path}/archive bookworm main\n"
    )
    (host / "sources.list.d" / "local.sources").unlink()
    assert refused(tmp_path, host).problem is InstallProblem.BAD_SIGNATURE
