"""Keeps a copy of volumes on a laptop, swapped all at once, as the kubelet does in a pod: programs that watch it see the same.

Below the folder, each volume has its path. The files of a revision are in a directory of their own, ``..data`` is a link to it that
is replaced in one step, and each name is a link through ``..data``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rtunnel.podfiles.volumes import Volume

__all__ = ["copy_volumes", "path_in"]

_DATA = "..data"


def path_in(folder: Path, volume: str) -> Path:
    """Where the copy of a volume is."""
    return folder / volume.removeprefix("/")


def copy_volumes(folder: Path, volumes: Iterable[Volume]) -> None:
    """Bring the copies up to date.

    :param folder: is made, for its user only, if it is not there.
    :param volumes: with contents.
    :raises OSError: something cannot be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for volume in volumes:
        where = path_in(folder, volume.path)
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy(where, volume)


def _copy(where: Path, volume: Volume) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f"..{volume.revision[:8]}-", dir=where))
    try:
        for file in volume.files:
            target = fresh / file.path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # for its user only, whatever others may do in the pod
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600 | (file.mode & 0o100))
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(file.content or b"")
        before = _link_of(where / _DATA)
        _replace_link(where / _DATA, fresh.name)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    _link_names(where, {file.path.partition("/")[0] for file in volume.files})
    if before is not None and before.startswith("..") and "/" not in before:
        shutil.rmtree(where / before, ignore_errors=True)


def _link_of(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _replace_link(path: Path, to: str) -> None:
    """Have a link lead elsewhere, in one step."""
    temporary = path.with_name("..data_tmp")
    temporary.unlink(missing_ok=True)
    os.symlink(to, temporary)
    os.replace(temporary, path)


def _link_names(where: Path, names: set[str]) -> None:
    """Have each name lead through ``..data``, and remove those that are gone; files of others stay."""
    for name in names:
        if _link_of(where / name) != f"{_DATA}/{name}":
            os.symlink(f"{_DATA}/{name}", where / name)
    for entry in where.iterdir():
        link = _link_of(entry)
        if link is not None and link.startswith(f"{_DATA}/") and entry.name not in names:
            entry.unlink()
