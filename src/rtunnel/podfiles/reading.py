"""Reads a volume without leaving it: no link is followed but ``..data``, by which Kubernetes swaps all files of a volume at once.

In a volume of a ConfigMap, Secret, projection or the downward API, the files are in a directory with a time in its name, ``..data``
is a link to that directory, and each name of the volume is a link through ``..data``. So one look at ``..data`` leads to a set of
files that belong together; one that was swapped while it was read is read again. Elsewhere the files are those of the directory
itself.

Everything is opened relative to what was opened before, with O_NOFOLLOW: nothing that is renamed or replaced meanwhile leads out.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Final

from rtunnel.podfiles.volumes import MAX_FILE, MAX_FILES, MAX_TOTAL, PodFile, Volume, is_relative

__all__ = ["ReadingError", "read_volume"]

MAX_DEPTH: Final = 8
"""Directories within directories."""
ATTEMPTS: Final = 10
"""How often a volume is read that is swapped meanwhile."""
_POSIX: Final = hasattr(os, "O_DIRECTORY") and hasattr(os, "O_NOFOLLOW")
"""Whether a volume can be read without leaving it, which Windows cannot."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC if _POSIX else 0
# of a pipe, opening would wait for a writer
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC if _POSIX else 0


class ReadingError(Exception):
    """A volume cannot be read; the text says why."""


class _Reading:
    """One reading of a volume."""

    def __init__(self, contents: bool, room: int) -> None:
        self.contents = contents
        self.room = room
        self.files: list[PodFile] = []
        self.left_out: list[str] = []
        self.revision = hashlib.sha256()

    def walk(self, directory: int, prefix: str, depth: int) -> None:
        """Read what is in an open directory."""
        for name in sorted(os.listdir(directory)):
            path = prefix + name
            if not is_relative(path) or not _is_text(path):
                continue
            if len(self.files) + len(self.left_out) >= MAX_FILES:
                raise ReadingError(f"it has more than {MAX_FILES} files")
            try:
                self._take(directory, name, path, depth)
            except OSError:
                # a link, a socket, or nothing of ours to read
                self.left_out.append(path)

    def _take(self, directory: int, name: str, path: str, depth: int) -> None:
        opened = os.open(name, _FILE, dir_fd=directory)
        try:
            status = os.fstat(opened)
            if stat.S_ISDIR(status.st_mode) and depth < MAX_DEPTH:
                self.walk(opened, f"{path}/", depth + 1)
            elif stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE:
                self._read(opened, path, status)
            else:
                self.left_out.append(path)
        finally:
            os.close(opened)

    def _read(self, opened: int, path: str, status: os.stat_result) -> None:
        size, content = status.st_size, None
        if self.contents:
            content = _read_all(opened)
            size = len(content)
            if size > MAX_FILE:
                self.left_out.append(path)
                return
        self.room -= size
        if self.room < 0:
            raise ReadingError(f"its files are larger than {MAX_TOTAL >> 20} MiB in all")
        mode = stat.S_IMODE(status.st_mode) & 0o777
        self.files.append(PodFile(path, size, mode, content))
        self.revision.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}\0{mode}\n".encode())


def read_volume(path: str, directory: str, *, contents: bool = True, room: int = MAX_TOTAL) -> Volume:
    """Read a volume.

    :param path: where the application has it, for the result.
    :param directory: where it is here.
    :param contents: whether the files are read, and not only listed.
    :param room: bytes of all files at most.
    :raises ReadingError: it is not there, or too large, or this system cannot read it safely.
    """
    if not _POSIX:
        raise ReadingError("cannot be read on this system, which follows every link")
    try:
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for _ in range(ATTEMPTS):
                reading = _Reading(contents, room)
                name = _data_link(root)
                try:
                    _read_data(root, name, reading)
                except FileNotFoundError:
                    # it was swapped between two looks
                    continue
                if _data_link(root) == name:
                    return Volume(path, reading.revision.hexdigest()[:32], tuple(reading.files), tuple(reading.left_out))
        finally:
            os.close(root)
    except OSError as error:
        raise ReadingError(f"cannot be read: {error.strerror or error}") from None
    raise ReadingError("changes all the time")


def _read_data(root: int, name: str | None, reading: _Reading) -> None:
    """Read the files of a volume.

    :param name: of the directory that has them; None if it is the root itself.
    """
    if name is None:
        reading.walk(root, "", 0)
        return
    reading.revision.update(os.fsencode(name))
    data = os.open(name, _DIRECTORY, dir_fd=root)
    try:
        reading.walk(data, "", 0)
    finally:
        os.close(data)


def _data_link(root: int) -> str | None:
    """The directory that ``..data`` leads to, which is beside it; None where there is no such link."""
    try:
        name = os.readlink("..data", dir_fd=root)
    except OSError:
        return None
    return name if "/" not in name and name not in (".", "..") else None


def _read_all(opened: int) -> bytes:
    """A file, as far as it may be, and a byte more."""
    pieces = []
    left = MAX_FILE + 1
    while left > 0 and (piece := os.read(opened, left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
