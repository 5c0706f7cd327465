"""A private folder for what one run keeps on this machine; removed at its end, or at the start of the next run after a crash.

It is in the folder of the user's session, which is in memory, or in one of the user's own for temporary files. Who holds the lock
of a folder lives: the system takes the lock away from who was killed.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["RunFolder"]

_PREFIX = "run-"
_FRESH = ".run-"
"""While it has no lock yet; nobody else touches it then."""
_LOCK = "lock"


class RunFolder:
    """The folder of this run; owned by the session.

    :ivar path: of the folder, which only its user can enter.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        base = _base(environ)
        _remove_dead(base)
        fresh = Path(tempfile.mkdtemp(prefix=_FRESH, dir=base))
        lock = _locked(fresh / _LOCK)
        if lock is None:
            raise PermissionError(None, "the lock of a new folder is taken", str(fresh))
        self._lock = lock
        self.path = base / f"{_PREFIX}{fresh.name.removeprefix(_FRESH)}"
        fresh.rename(self.path)

    def folder(self, name: str) -> Path:
        """A folder in it, which is made if it is not there."""
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def remove(self) -> None:
        """Remove it, with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock != -1:
            os.close(self._lock)
            self._lock = -1


def _base(environ: Mapping[str, str]) -> Path:
    """Where the folders of all runs are.

    :raises OSError: there is no such place, or it is another user's.
    """
    session = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(session) and os.access(session, os.W_OK | os.X_OK):
        base = Path(session, "rtunnel")
    else:
        base = Path(tempfile.gettempdir(), f"rtunnel-{os.geteuid()}")
    with suppress(FileExistsError):
        base.mkdir(mode=0o700)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(None, "is no folder that only you can write to", str(base))
    return base


def _remove_dead(base: Path) -> None:
    """Remove the folders of runs that have ended without doing that."""
    for path in base.glob(f"{_PREFIX}*"):
        lock = _locked(path / _LOCK)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _locked(path: Path) -> int | None:
    """A lock, as the descriptor of its file; None if another process has it, or it is gone."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
