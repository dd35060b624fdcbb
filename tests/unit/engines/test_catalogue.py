"""The catalogue finds what is here, prefers the better build, and offers only what it can have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cachewright.engines import apt, catalogue, debian, embedded
from cachewright.engines.apt import CannotProvide, Package
from cachewright.model.builds import (
    Build,
    BuildSource,
    InstallFailed,
    InstallProblem,
    OfferState,
)
from cachewright.model.engines import EngineName, version_key


def engine(folder: Path, name: str, said: str, *, has_tls: bool = False) -> Path:
    """Write an executable that answers as an engine would."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    tls = "Failed to configure TLS" if has_tls else "Failed finding TLS support"
    path.write_text(
        f'#!/bin/sh\ncase "$1" in --version|-V) echo "{said}";; *) echo "{tls}";; esac\n'
    )
    path.chmod(0o755)
    return path


def valkey(version: str, malloc: str = "libc") -> str:
    return f"Valkey server v={version} sha=00000000:0 malloc={malloc} bits=64 build=1"


def here(tmp_path: Path, *path: Path) -> catalogue.Catalogue:
    """A catalogue of a host without apt, whose PATH is `path`."""
    return catalogue.Catalogue(
        tmp_path / "engines",
        search_path=os.pathsep.join(map(str, path)),
        apt_folder=tmp_path / "no-apt",
    )


def on_path(known: catalogue.Catalogue) -> list[Build]:
    return [build for build in known.builds() if build.source is BuildSource.PATH]


def test_embedded_build_is_always_here(tmp_path: Path) -> None:
    best = here(tmp_path).best(EngineName.VALKEY, "9.1")
    assert best is not None
    assert best.source is BuildSource.EMBEDDED
    assert (best.has_tls, best.allocator, best.cli) == (False, "libc", None)


def test_first_folder_of_path_wins(tmp_path: Path) -> None:
    engine(tmp_path / "a", "valkey-server", valkey("8.1.4"))
    engine(tmp_path / "b", "valkey-server", valkey("8.1.9"))
    found = on_path(here(tmp_path, tmp_path / "a", tmp_path / "b"))
    assert [build.version for build in found] == ["8.1.4"]


def test_program_with_two_names_is_one_build(tmp_path: Path) -> None:
    path = engine(tmp_path / "a", "valkey-server", valkey("8.1.4"))
    (tmp_path / "a" / "redis-server").symlink_to(path)
    found = on_path(here(tmp_path, tmp_path / "a"))
    assert [(build.engine, build.server) for build in found] == [(EngineName.VALKEY, str(path))]


def test_link_is_kept_by_name_for_engines_that_look_at_it(tmp_path: Path) -> None:
    said = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1"
    path = engine(tmp_path / "a", "redis-check-rdb", said)
    link = tmp_path / "a" / "redis-server"
    link.symlink_to(path)
    assert [build.server for build in on_path(here(tmp_path, tmp_path / "a"))] == [str(link)]


def test_relative_folders_of_path_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(tmp_path / "bin", "valkey-server", valkey("8.1.4"))
    monkeypatch.chdir(tmp_path / "bin")
    assert embedded.servers_on_path(os.pathsep.join(["../bin", ".", ""])) == ()
    assert embedded.servers_on_path("") == ()


def test_tools_beside_the_server_belong_to_it(tmp_path: Path) -> None:
    engine(tmp_path / "a", "valkey-server", valkey("8.1.4"))
    cli = engine(tmp_path / "a", "valkey-cli", "")
    (build,) = on_path(here(tmp_path, tmp_path / "a"))
    assert (build.cli, build.benchmark) == (str(cli), None)


def test_vanished_build_is_not_listed_any_more(tmp_path: Path) -> None:
    path = engine(tmp_path / "a", "valkey-server", valkey("8.1.4"))
    known = here(tmp_path, tmp_path / "a")
    assert on_path(known)
    path.unlink()
    assert on_path(known) == []


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param(("9.1.0", "libc", True), ("9.1.9", "jemalloc-5", False), id="TLS first"),
        pytest.param(("9.1.0", "jemalloc-5", True), ("9.1.9", "libc", True), id="then jemalloc"),
        pytest.param(("9.1.10", "libc", True), ("9.1.9", "libc", True), id="then the newest"),
    ],
)
def test_better_build_is_chosen(
    tmp_path: Path, better: tuple[str, str, bool], worse: tuple[str, str, bool]
) -> None:
    for folder, (version, malloc, has_tls) in (("a", worse), ("b", better)):
        home = tmp_path / "engines" / "debian" / folder / "bin"
        engine(home, "valkey-server", valkey(version, malloc), has_tls=has_tls)
    best = here(tmp_path).best(EngineName.VALKEY, "9.1")
    assert best is not None
    assert best.version == better[0]


def test_other_versions_are_never_chosen(tmp_path: Path) -> None:
    engine(tmp_path / "a", "valkey-server", valkey("8.1.4"), has_tls=True)
    assert here(tmp_path, tmp_path / "a").best(EngineName.VALKEY, "8.0") is None
    assert here(tmp_path, tmp_path / "a").best(EngineName.REDIS, "8.1") is None


def test_versions_that_elasticache_does_not_have_are_not_offered(tmp_path: Path) -> None:
    said = "Redis server v=8.0.3 sha=00000000:0 malloc=libc bits=64 build=1"
    engine(tmp_path / "a", "redis-server", said)
    known = here(tmp_path, tmp_path / "a")
    assert [build.version for build in on_path(known)] == ["8.0.3"]
    assert {(offer.engine, offer.api_version) for offer in known.offers()} == {
        (EngineName.VALKEY, "9.1")
    }


def test_host_without_apt_offers_nothing_to_install(tmp_path: Path) -> None:
    assert {offer.state for offer in here(tmp_path).offers()} == {OfferState.INSTALLED}


def test_install_without_apt_says_so(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed) as failed:
        here(tmp_path).install(EngineName.VALKEY, "8.1")
    assert failed.value.problem is InstallProblem.NO_APT
    assert "PATH" in failed.value.hint


def test_archive_without_the_programs_of_apt_is_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sources.list").write_text("deb http://a.example.invalid/debian sid main\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    known = catalogue.Catalogue(tmp_path / "engines", apt_folder=tmp_path)
    assert {offer.state for offer in known.offers()} == {OfferState.INSTALLED}
    with pytest.raises(InstallFailed) as failed:
        known.install(EngineName.VALKEY, "8.1")
    assert failed.value.problem is InstallProblem.NO_APT


def test_install_of_an_unknown_version_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match=r"redis 8\.0.*valkey 9\.1.*memcached 1\.6") as failed:
        here(tmp_path).install(EngineName.REDIS, "8.0")
    assert failed.value.problem is InstallProblem.NOT_OFFERED


def test_install_into_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "engines").touch()
    with pytest.raises(InstallFailed, match="CACHEWRIGHT_ENGINES_DIR"):
        here(tmp_path).install(EngineName.VALKEY, "8.1")


def test_provide_prefers_what_is_here(tmp_path: Path) -> None:
    path = engine(tmp_path / "a", "memcached", "memcached 1.6.18")
    assert here(tmp_path, tmp_path / "a").provide(EngineName.MEMCACHED, "1.6.18").server == str(
        path
    )


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CACHEWRIGHT_ENGINES_DIR": "/e", "XDG_CACHE_HOME": "/c"}, Path("/e")),
        ({"XDG_CACHE_HOME": "/c"}, Path("/c/cachewright/engines")),
        ({"XDG_CACHE_HOME": "c"}, Path.home() / ".cache/cachewright/engines"),
        ({}, Path.home() / ".cache/cachewright/engines"),
    ],
)
def test_folder_follows_the_environment(environment: dict[str, str], expected: Path) -> None:
    assert catalogue.default_folder(environment) == expected


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("W: x\nE: Write error - write (28: No space left on device)", InstallProblem.DISK_FULL),
        ("E: Failed to fetch y  Temporary failure resolving 'y'", InstallProblem.NO_NETWORK),
        ("E: Could not connect to y:80, connection timed out", InstallProblem.NO_NETWORK),
        ("W: GPG error: y InRelease: NO_PUBKEY 6ED0E7B82643E131", InstallProblem.BAD_SIGNATURE),
        ("E: The repository 'y' is not signed.", InstallProblem.BAD_SIGNATURE),
        ("E: Sub-process /usr/bin/sqv returned: Missing key 04B5", InstallProblem.BAD_SIGNATURE),
        ("W: At least one invalid signature was encountered.", InstallProblem.BAD_SIGNATURE),
        ("E: Release file for y is not valid yet (invalid for 3h)", InstallProblem.BAD_SIGNATURE),
        ("E: The repository 'y' does not have a Release file.", InstallProblem.NOT_IN_SUITE),
        ("E: '/signature/x' does not have a Release file.", InstallProblem.NOT_IN_SUITE),
        ("E: something else", InstallProblem.BROKEN),
        ("", InstallProblem.BROKEN),
    ],
)
def test_what_apt_says_is_understood(said: str, problem: InstallProblem) -> None:
    error = apt.diagnose(said)
    assert error.problem is problem
    assert error.reason
    assert error.hint


def test_credentials_of_a_mirror_are_not_shown() -> None:
    error = apt.diagnose("E: Failed to fetch https://me:secret@y.example.invalid/x  404  Not Found")
    assert "secret" not in f"{error} {error.reason}"
    assert "y.example.invalid" in error.reason


def package(name: str, *depends: str, version: str = "1") -> Package:
    choices = tuple(tuple(choice.split("|")) for choice in depends)
    return Package(name=name, version=version, size_bytes=1, depends=choices)


def test_libraries_are_followed_and_services_are_not() -> None:
    archive = {
        "redis-server": package("redis-server", "redis-tools", "adduser", "libc6"),
        "redis-tools": package("redis-tools", "libssl3", "lua-cjson|lua-none"),
        "libssl3": package("libssl3", "libc6", "zlib1g", "debconf"),
        "lua-cjson": package("lua-cjson", "libc6"),
        "libc6": package("libc6", "libgcc-s1", "libc-gconv-modules-extra"),
        "libgcc-s1": package("libgcc-s1", "libc6", "gcc-base"),
        "zlib1g": package("zlib1g", "libc6"),
        "adduser": package("adduser"),
    }
    row = debian.row_of(EngineName.REDIS, "7.0")
    assert row is not None
    chosen = debian.resolve(row, lambda names: {n: archive[n] for n in names if n in archive})
    assert set(chosen) == set(archive) - {"adduser"}


def test_suite_without_the_package_is_refused() -> None:
    row = debian.row_of(EngineName.REDIS, "7.0")
    assert row is not None
    with pytest.raises(CannotProvide) as refused:
        debian.resolve(row, lambda _: {})
    assert refused.value.problem is InstallProblem.NOT_IN_SUITE


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("5:7.0.15-1~deb12u6", "7.0.15"),
        ("7.0.15+dfsg1-1~bpo12+1", "7.0.15"),
        ("5:7.2.4-1", None),
        ("5:8.0.2-3", None),
        ("7.0", None),
    ],
)
def test_suite_that_moved_on_is_refused(version: str, expected: str | None) -> None:
    row = debian.row_of(EngineName.REDIS, "7.0")
    assert row is not None
    found = package("redis-server", version=version)
    if expected is not None:
        assert debian.engine_version(row, found) == expected
        return
    with pytest.raises(CannotProvide, match="now carries"):
        debian.engine_version(row, found)


def memcached_row(version: str) -> debian.Row:
    row = debian.row_of(EngineName.MEMCACHED, version)
    assert row is not None
    return row


def test_a_suite_that_goes_on_is_asked_for_its_later_versions() -> None:
    newest = max((row.api_version for row in debian.ROWS if row.moves), key=version_key)
    later = f"{newest}0"
    row = memcached_row(later)
    assert (row.api_version, row.suites) == (later, memcached_row(newest).suites)
    assert debian.engine_version(row, package("memcached", version=f"{later}-1")) == later
    for stranger in ("1.6.19", "1.7.0", "1.6"):
        assert debian.row_of(EngineName.MEMCACHED, stranger) is None
    with pytest.raises(CannotProvide) as refused:
        debian.engine_version(memcached_row(newest), package("memcached", version=f"{later}-1"))
    assert refused.value.hint == f"ask for memcached {later}"


@pytest.mark.parametrize(("version", "is_offered"), [("1.6.31", True), ("1.6.9", False)])
def test_a_memcached_of_the_host_is_offered_in_its_own_version(
    tmp_path: Path, version: str, is_offered: bool
) -> None:
    engine(tmp_path / "a", "memcached", f"memcached {version}")
    found = [
        (offer.api_version, offer.version, offer.state)
        for offer in here(tmp_path, tmp_path / "a").offers()
        if offer.engine is EngineName.MEMCACHED and offer.source is BuildSource.PATH
    ]
    assert found == ([(version, version, OfferState.INSTALLED)] if is_offered else [])
