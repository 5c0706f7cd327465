"""Where the admin sockets of the processes of this machine are: each has one, in a directory that belongs to its user alone.

The name of a socket says the role and the process ID, ``client-4711.sock``, so that all of a directory can be found.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import attrs

__all__ = ["AdminPlace", "AdminSocketError", "directories", "find_places", "make_place"]

SYSTEM = Path("/run/rtunnel")
"""Where those are that belong to no session: each user of them, and each unit of systemd, has a directory of its own there."""
MAX_PATH = 107
"""Bytes of the path of a unix socket (``sun_path`` of unix(7), without the zero at its end)."""

_NAME = re.compile(r"(server|client|visitor)-([1-9][0-9]{0,9})\.sock")


class AdminSocketError(Exception):
    """There is no place for a socket; the text says why."""


@attrs.frozen(order=True)
class AdminPlace:
    """An admin socket.

    :ivar role: of its process.
    :ivar pid: of its process.
    :ivar path: of the socket.
    """

    role: str
    pid: int
    path: str


def directories(environ: Mapping[str, str]) -> list[Path]:
    """The directories for sockets, the best one first: systemd's for the unit, that of the session, the system's, that of the user.

    :param environ: the environment of the process.
    """
    # systemd.exec(5): RuntimeDirectory= of the unit; several are separated by colons
    unit = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    session = environ.get("XDG_RUNTIME_DIR", "")
    state = environ.get("XDG_STATE_HOME", "") or os.path.join(environ.get("HOME", "") or os.path.expanduser("~"), ".local/state")
    found = [Path(unit)] if os.path.isabs(unit) else []
    if os.path.isabs(session):
        found.append(Path(session, "rtunnel"))
    found.append(SYSTEM / "root")
    if os.path.isabs(state):
        found.append(Path(state, "rtunnel"))
    return list(dict.fromkeys(found))


def make_place(role: str, environ: Mapping[str, str]) -> AdminPlace:
    """The place of this process's own socket, in a directory that exists then; what is left of dead processes there is removed.

    :raises AdminSocketError: there is none.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise AdminSocketError("this system has no unix sockets")
    reasons = []
    for directory in directories(environ):
        try:
            _make_private(directory)
        except OSError as error:
            reasons.append(f"{directory}: {error.strerror or error}")
            continue
        place = AdminPlace(role, os.getpid(), str(directory / f"{role}-{os.getpid()}.sock"))
        if len(os.fsencode(place.path)) > MAX_PATH:
            reasons.append(f"{directory}: its path is too long for a socket")
            continue
        _remove_dead(directory)
        return place
    raise AdminSocketError("; ".join(reasons))


def _make_private(directory: Path) -> None:
    """Have a directory in which nobody else can put or replace anything.

    :raises OSError: it cannot be made, or is somebody else's.
    """
    if directory.parent == SYSTEM:
        # systemd makes it as well, for the units of other users, who have to get through
        with suppress(FileExistsError):
            SYSTEM.mkdir(mode=0o755)
    else:
        directory.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(None, "not a directory")
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(None, "other users may write there")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(None, "not writable")


def _remove_dead(directory: Path) -> None:
    """Remove the sockets whose processes are gone: killed, or lost with the machine."""
    for place in _sockets_in(directory):
        if not _answers(place.path) and (place.pid == os.getpid() or not _runs(place.pid)):
            with suppress(OSError):
                os.unlink(place.path)


def find_places(environ: Mapping[str, str]) -> list[AdminPlace]:
    """The sockets at which somebody listens whom this user may ask."""
    places = [place for directory in (*directories(environ), *_below(SYSTEM)) for place in _sockets_in(directory)]
    return sorted(place for place in dict.fromkeys(places) if _answers(place.path))


def _below(directory: Path) -> list[Path]:
    try:
        return [path for path in sorted(directory.iterdir()) if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _sockets_in(directory: Path) -> Iterator[AdminPlace]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    for name in names:
        matched = _NAME.fullmatch(name)
        if matched is not None:
            yield AdminPlace(matched[1], int(matched[2]), str(directory / name))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _answers(path: str) -> bool:
    """Whether a process accepts connections there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
