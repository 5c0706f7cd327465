"""Files that are read again when they change: watched continuously, or checked when their value is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from rtunnel.settings import SettingsError

__all__ = ["CHECK_INTERVAL", "FileWatcher", "ReloadedValue"]

CHECK_INTERVAL: Final = 2.0
"""Seconds between two looks at files."""

T = TypeVar("T")
_Stamp = tuple[int, int, int, int] | None
"""What tells one state of a file from another: its device, number, size and time of change; None for no file."""


class FileWatcher:
    """Looks at files at an interval; has them read again when they changed and then stood still from one look to the next.

    So a half-written file is not read. Owned by who starts and stops it.

    :param paths: of the files, which are taken as read now; links are followed, so that it sees what Kubernetes does with a mounted
        Secret.
    :param reload: reads them. What it raises is logged, once for each change: a :class:`~rtunnel.settings.SettingsError` as the
        line that it is.
    :param reactor: the clock.
    :param interval: seconds between two looks.
    """

    def __init__(
        self, paths: Sequence[str], reload: Callable[[], object], reactor: Any, *, interval: float = CHECK_INTERVAL
    ) -> None:
        self._paths = paths
        self._reload = reload
        self._interval = interval
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self._read = self._seen = _stamps(paths)
        self._log = Logger()

    def start(self) -> None:
        """Begin to look."""
        if self._paths and not self._looking.running:
            self._looking.start(self._interval, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    def _look(self) -> None:
        before, self._seen = self._seen, _stamps(self._paths)
        if self._seen == self._read or self._seen != before:
            return
        self._read = self._seen
        try:
            self._reload()
        except SettingsError as error:
            self._log.error("{error}; what was read before stays in force", error=str(error))
        except Exception:
            self._log.failure("a file could not be read again; what was read before stays in force")


class ReloadedValue(Generic[T]):
    """Something made of files, and made again when they have changed: for who needs it now and then, without a timer.

    A change is seen at once, since the next check may be much later. Files that cannot be used are logged, once for each
    change, and the value before them stays.

    :param make: makes it.
    :param paths: of what files it is made.
    :param unusable: what ``make`` raises when one of them cannot be used.
    :param what: what they are, for the log.
    :param reactor: the clock; the files are looked at every :data:`CHECK_INTERVAL` at most.
    """

    def __init__(self, make: Callable[[], T], paths: Sequence[str], *, unusable: type[Exception], what: str, reactor: Any) -> None:
        self._make = make
        self._paths = paths
        self._unusable = unusable
        self._what = what
        self._reactor = reactor
        self._stamps: Sequence[_Stamp] = ()
        self._value: T | None = None
        self._looked = 0.0
        self._log = Logger()

    def load(self) -> T:
        """Make it now, whatever was before; raises what ``make`` raises."""
        self._looked = self._reactor.seconds()
        # before they are read: what changes in between is seen next time
        self._stamps = _stamps(self._paths)
        self._value = self._make()
        return self._value

    def current(self) -> T:
        """What is in force now; raises what ``make`` raises as long as there was never a usable one."""
        if self._value is None:
            return self.load()
        now = self._reactor.seconds()
        if self._paths and not 0 <= now - self._looked < CHECK_INTERVAL:
            self._looked = now
            before, self._stamps = self._stamps, _stamps(self._paths)
            if self._stamps != before:
                self._reload()
        return self._value

    def _reload(self) -> None:
        try:
            self._value = self._make()
        except self._unusable as error:
            self._log.error("{what} changed and cannot be used, the previous one stays: {error}", what=self._what, error=str(error))
        else:
            self._log.info("{what} changed and was reloaded", what=self._what)


def _stamps(paths: Sequence[str]) -> Sequence[_Stamp]:
    return [_stamp(path) for path in paths]


def _stamp(path: str) -> _Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
