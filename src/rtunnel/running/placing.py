"""Which files of a pod may be at their paths on this machine: none may stand in for what is there, or for programs.

The pod says which paths its volumes have. One that did so for ``/usr/bin`` or ``~/.ssh`` would run its own programs here, so a path
must be new on this machine, and not in a folder of programs or of the user, unless the user allows it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import PurePosixPath

from attrs import frozen

__all__ = ["Places", "place"]

_NEVER_NEW = tuple(map(PurePosixPath, ("/usr", "/bin", "/sbin", "/proc", "/sys", "/dev", "/boot", "/nix", "/snap", "/gnu")))
_LIBRARIES = "/lib"


@frozen
class Places:
    """Where volumes are.

    :ivar exact: those at their paths; none is within another one, whose copy has it.
    :ivar elsewhere: those that are not, with the reason of each.
    """

    exact: tuple[str, ...]
    elsewhere: Mapping[str, str]


def place(
    paths: Iterable[str],
    *,
    own: Collection[str],
    allowed: Collection[str] = (),
    real: Callable[[str], str] = os.path.realpath,
    exists: Callable[[str], bool] = os.path.exists,
) -> Places:
    """Decide where volumes are.

    :param paths: of volumes in the pod.
    :param own: folders of the user: the home, the working directory; without links. The root is none, whoever calls it home.
    :param allowed: paths that the user allows, whatever is there.
    :param real: a path without the links that are in it on this machine.
    :param exists: whether there is something at a path on this machine.
    """
    reasons = {path: None if path in allowed else _reason(real(path), own, exists) for path in paths}
    exact = [path for path, reason in reasons.items() if reason is None]
    outermost = tuple(path for path in exact if not any(path.startswith(f"{other}/") for other in exact))
    return Places(outermost, {path: reason for path, reason in reasons.items() if reason is not None})


def _reason(path: str, own: Collection[str], exists: Callable[[str], bool]) -> str | None:
    """Why files may not be at a path; None if they may."""
    pure = PurePosixPath(path)
    if any(pure.is_relative_to(folder) for folder in _NEVER_NEW) or path.startswith(_LIBRARIES):
        return "programs are there"
    folders = [folder for folder in map(PurePosixPath, own) if folder != folder.parent]
    if any(pure.is_relative_to(folder) or folder.is_relative_to(pure) for folder in folders):
        return "it is yours"
    return "it is there on this machine" if exists(path) else None
