"""Writes the root file system of the image: an environment, the Python that it was made with, and what these two need.

``python3 root_filesystem.py ENVIRONMENT ROOT``, in the stage before the last. The rest of the base stays behind: nobody needs a
shell or a package manager in a running container.

Debian's packages, parts of which are taken over, are described in ``/var/lib/dpkg/status.d``, a file for each, as in distroless
images: there scanners for vulnerabilities and SBOM tools look for them.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

TESTS = ("test", "tests")
UNUSED_LIBRARIES = (
    "twisted/conch",  # SSH
    "twisted/mail",
    "twisted/names",
    "twisted/trial",
    "twisted/words",
    "autobahn/_flatc",  # a compiler of schemas
    "pygments/lexers",  # colors for source code, which rich can show
)
"""Parts of libraries that nothing of ours imports, the large ones."""
UNUSED_PYTHON = (
    *("idlelib", "lib2to3", "pydoc_data", "tkinter", "_tkinter.*", "turtle.py", "turtledemo"),  # windows, development
    *("config-*", "ensurepip"),  # building and installing
    # with their libraries of Debian
    *("curses", "_curses*", "dbm", "_dbm.*", "_gdbm.*", "nis.*", "readline.*", "sqlite3", "_sqlite3.*"),
)
"""The same of the standard library."""
PROGRAMS = ("python", "python3", "rtunnel")
"""Of the environment; those of the libraries are for developers."""
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PACKAGES = ("site-packages", "dist-packages")
FILES = (
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/services",
    CERTIFICATES,
    "/etc/debian_version",
    "/etc/ld.so.cache",
    "/usr/lib/os-release",
    "/usr/share/zoneinfo",
)
"""Of the base, as far as it has them: what names, certificates and time zones mean, where libraries are, and which Debian it is."""
LINKS = ("/lib", "/lib64", "/etc/os-release")
"""The same, where the base has symbolic links."""


def write(environment: Path, root: Path) -> None:
    """Write the file system.

    :param environment: a virtual environment, which will stand at the same place.
    :param root: a folder that does not exist yet.
    """
    root.mkdir(parents=True)
    for link in filter(os.path.islink, LINKS):
        copy(Path(link), root, ())
    (root / "tmp").mkdir(mode=0o1777)
    (root / "tmp").chmod(0o1777)

    library = Path(sysconfig.get_path("stdlib"))
    copy(environment, root, TESTS)
    slim(root / str(environment)[1:])
    copy(library, root, (*TESTS, *UNUSED_PYTHON, *PACKAGES))
    python = environment / "bin" / "python3"
    binaries = [Path(os.path.realpath(python)), *(Path("/", path.relative_to(root)) for path in root.rglob("*.so"))]
    taken = [*binaries, *links(python), *shared_libraries(binaries), *map(Path, FILES)]
    for path in filter(os.path.exists, taken):
        if not (root / str(path)[1:]).exists():
            copy(path, root, ())
    # where Python's OpenSSL looks; a variable in its place would be one of the pod's environment
    expected = root / ssl.get_default_verify_paths().openssl_cafile[1:]
    expected.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(expected):
        expected.symlink_to(CERTIFICATES)
    compile_all(root)
    describe_packages(taken, root)


def copy(path: Path, root: Path, left_out: tuple[str, ...]) -> None:
    """Copy a file or a folder to its place under the root, symbolic links as what they are."""
    place = root / os.path.realpath(path.parent)[1:] / path.name
    place.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.copytree(path, place, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", *left_out))
    else:
        shutil.copy2(path, place, follow_symlinks=False)


def slim(environment: Path) -> None:
    """Remove from the copy of an environment what no server needs."""
    for program in (environment / "bin").iterdir():
        if program.name not in PROGRAMS:
            program.unlink()
    for part in UNUSED_LIBRARIES:
        for folder in environment.glob(f"lib/python3*/site-packages/{part}"):
            shutil.rmtree(folder)


def links(link: Path) -> Iterator[Path]:
    """Yield what a symbolic link leads to, link by link."""
    while link.is_symlink():
        link = Path(os.path.normpath(link.parent / link.readlink()))
        yield link


def shared_libraries(binaries: list[Path]) -> Iterator[Path]:
    """Yield the libraries that binaries are linked with, the loader among them, and the files that they are links to."""
    listed = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
    for name in sorted(set(re.findall(r"(?:=> |^\t)(/\S+) \(0x", listed, re.MULTILINE))):
        yield Path(name)
        yield from links(Path(name))


def compile_all(root: Path) -> None:
    """Compile all modules. Python takes the result as it is, whatever the time stamps that layers give to files."""
    never_checked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(root, maxlevels=50, quiet=2, stripdir=str(root), invalidation_mode=never_checked)


def describe_packages(taken: list[Path], root: Path) -> None:
    """Write what Debian says of the packages that files were taken of."""
    # either side of /lib -> /usr/lib, whichever the package had when it was built
    owned = {name for path in taken for name in (str(path), os.path.realpath(path), str(path).removeprefix("/usr"))}
    found = subprocess.run(["dpkg-query", "--search", *sorted(owned)], capture_output=True, text=True, check=False).stdout
    names = {name for line in found.splitlines() for name in line.rpartition(": ")[0].split(", ") if " by" not in name}
    folder = root / "var" / "lib" / "dpkg" / "status.d"
    folder.mkdir(parents=True)
    for name in sorted(names):
        said = subprocess.run(["dpkg-query", "--status", name], capture_output=True, text=True, check=True).stdout
        (folder / name.partition(":")[0]).write_text(said, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
