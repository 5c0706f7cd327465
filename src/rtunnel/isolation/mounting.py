"""Files and folders at other paths, for the processes of one mount namespace.

Where the path is there already, what is there is covered. Where it is not, a place has to be made for it, although the folder above
cannot be written to: that folder is rebuilt in memory, with everything that it has bound into it, and one entry more.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence

from rtunnel.isolation import namespaces

__all__ = ["mount", "nearest_folder"]


def mount(binds: Iterable[Sequence[str]], folder: str) -> None:
    """Mount files and folders.

    :param binds: source and target of each; the targets are absolute.
    :param folder: an empty one for what has to be rebuilt.
    :raises namespaces.Refused: the system does not allow it.
    :raises OSError: a place cannot be made.
    """
    pairs = [(source, os.path.realpath(target)) for source, target in binds]
    missing: dict[str, list[tuple[str, str]]] = {}
    for source, target in pairs:
        if os.path.exists(target):
            namespaces.bind(source, target)
        else:
            missing.setdefault(nearest_folder(target), []).append((source, target))
    # the root last, since it takes the others along
    for number, above in enumerate(sorted(missing, key=len, reverse=True)):
        rebuilt = os.path.join(folder, str(number))
        _rebuild(above, rebuilt)
        for source, target in missing[above]:
            place = os.path.join(rebuilt, os.path.relpath(target, above))
            _make_place(source, place)
            namespaces.bind(source, place)
        if above == "/":
            namespaces.pivot(rebuilt)
        else:
            namespaces.bind(rebuilt, above)


def nearest_folder(path: str) -> str:
    """The nearest folder above a path that is there."""
    above = os.path.dirname(path)
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    return above


def _rebuild(folder: str, rebuilt: str) -> None:
    """Have a folder in memory with everything that another one has."""
    os.mkdir(rebuilt, 0o700)
    namespaces.mount_tmpfs(rebuilt)
    os.chmod(rebuilt, stat.S_IMODE(os.stat(folder).st_mode))
    for name in os.listdir(folder):
        source, place = os.path.join(folder, name), os.path.join(rebuilt, name)
        if os.path.islink(source):
            os.symlink(os.readlink(source), place)
        elif os.path.exists(source):
            _make_place(source, place)
            namespaces.bind(source, place)


def _make_place(source: str, place: str) -> None:
    """A place at which something can be mounted: a folder for a folder, a file for anything else."""
    if os.path.isdir(source):
        os.makedirs(place, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
