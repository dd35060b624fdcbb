"""How do packages become programs that run on any libc, without root and without installing?

`dpkg-deb -x` unpacks; the few executables that are wanted are copied out together with the
libraries that they really need (followed from file to file, never the host's own), and patchelf
points them at the loader and the libraries beside them:

    FOLDER/bin/valkey-server    interpreter FOLDER/lib/ld-linux-*.so.*, rpath $ORIGIN/../lib
    FOLDER/lib/libc.so.6 ...

Documentation, service files and libraries that nothing links to stay behind.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from cachewright.engines import bounded
from cachewright.engines.apt import CannotProvide, diagnose
from cachewright.model.builds import InstallProblem

#: Unpacking 5 MB takes 0.1 s.
UNPACK_TIMEOUT_S = 60.0
#: patchelf rewrites one file of a few megabytes.
PATCH_TIMEOUT_S = 30.0
#: A program says its version in 10 ms; a loaded machine may take longer.
CHECK_TIMEOUT_S = 10.0
#: Opened by the C library when a thread is cancelled or a crash is reported; nothing names it.
_OPENED_LATER = ("libgcc_s.so.1",)
_PROGRAM_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin")
_PROGRAM_MODE = 0o755


def patchelf() -> str | None:
    """Return the path of patchelf: our dependency's, or any on `PATH`."""
    folders = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    for folder in folders:
        if (folder / "patchelf").is_file():
            return str(folder / "patchelf")
    return shutil.which("patchelf")


def unpack(archives: Sequence[Path], root: Path) -> None:
    """Unpack package archives on top of each other into `root`."""
    root.mkdir()
    for archive in archives:
        argv = ["dpkg-deb", "-x", str(archive), str(root)]
        finished = bounded.run(argv, timeout_s=UNPACK_TIMEOUT_S)
        if finished.returncode != 0:
            raise diagnose(f"E: {finished.stderr.strip()}")


def assemble(root: Path, folder: Path, *, home: Path, programs: Sequence[str]) -> None:
    """Copy `programs` and their libraries from `root` into `folder`, to be moved to `home`.

    The kernel wants the loader's absolute path, so the programs run only once `folder` is `home`.
    """
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    libraries = _index_libraries(root)
    loaders: set[str] = set()
    for name in programs:
        program = folder / "bin" / name
        shutil.copyfile(_find_program(root, name), program)
        program.chmod(_PROGRAM_MODE)
        loader = Path(_patchelf("--print-interpreter", str(program))).name
        loaders.add(loader)
        _patchelf(
            *("--set-interpreter", str(home / "lib" / loader)),
            # DT_RPATH, unlike RUNPATH, serves the libraries too and beats LD_LIBRARY_PATH.
            *("--force-rpath", "--set-rpath", "$ORIGIN/../lib", str(program)),
        )
    wanted = [folder / "bin" / name for name in programs]
    for soname, file in _needed(wanted, libraries, loaders):
        copy = folder / "lib" / soname
        shutil.copyfile(file, copy)
        copy.chmod(_PROGRAM_MODE if soname in loaders else 0o644)


def check(folder: Path, programs: Sequence[str]) -> None:
    """Run each program of an assembled `folder`, through its loader as it is not home yet."""
    loader = next(iter(sorted((folder / "lib").glob("ld*.so*"))))
    for name in programs:
        argv = [str(loader), str(folder / "bin" / name), "--version"]
        finished = bounded.run(argv, timeout_s=CHECK_TIMEOUT_S)
        if finished.returncode != 0:
            raise CannotProvide(
                InstallProblem.BROKEN,
                f"{name} does not run here: {finished.stderr.strip()[-200:]}",
                "the packages may need a newer kernel",
            )


def _needed(
    programs: Sequence[Path], libraries: dict[str, Path], loaders: set[str]
) -> Iterator[tuple[str, Path]]:
    """Yield every library that `programs` need, directly or through others, each once."""
    seen: set[str] = set()
    waiting = [*sorted(loaders), *_OPENED_LATER]
    waiting += [soname for program in programs for soname in _sonames(program)]
    while waiting:  # ends: only names not seen before add work, and the index is finite
        soname = waiting.pop()
        if soname in seen:
            continue
        seen.add(soname)
        if soname not in libraries:
            raise CannotProvide(
                InstallProblem.BROKEN,
                f"no package of the suite brought {soname}",
                "the suite may be in transition: try again tomorrow",
            )
        yield soname, libraries[soname]
        waiting += _sonames(libraries[soname])


def _sonames(file: Path) -> list[str]:
    return _patchelf("--print-needed", str(file)).split()


def _patchelf(*arguments: str) -> str:
    program = patchelf()
    if program is None:
        raise CannotProvide(
            InstallProblem.BROKEN, "patchelf is missing", "install the Python package patchelf"
        )
    finished = bounded.run([program, *arguments], timeout_s=PATCH_TIMEOUT_S)
    if finished.returncode != 0:
        raise diagnose(f"E: patchelf: {finished.stderr.strip()}")
    return finished.stdout.strip()


def _index_libraries(root: Path) -> dict[str, Path]:
    """Return the shared libraries under `root` by file name, links resolved inside `root` only.

    A link that is absolute would name a file of the host: the file it means has its own entry.
    """
    found: dict[str, Path] = {}
    for top in ("lib", "lib64", "usr/lib", "usr/lib64"):
        for pattern in ("*.so*", "*/*.so*"):
            for path in sorted((root / top).glob(pattern)):
                target = path.resolve()
                if target.is_relative_to(root.resolve()) and target.is_file():
                    found.setdefault(path.name, target)
    return found


def _find_program(root: Path, name: str) -> Path:
    for folder in _PROGRAM_FOLDERS:
        path = (root / folder / name).resolve()
        if path.is_relative_to(root.resolve()) and path.is_file():
            return path
    raise CannotProvide(
        InstallProblem.BROKEN,
        f"no package of the suite brought {name}",
        "the suite has changed its packages: report it",
    )
