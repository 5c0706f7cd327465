"""Files that are read at the start and again when they change."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from rtunnel.routing.lines import LineError
from rtunnel.settings import SettingsError

__all__ = ["LOOK", "FileWatcher", "read"]

LOOK: Final = 2.0
"""Seconds between two looks at files."""
MAX_BYTES: Final = 16 * 2**20
"""Bytes of a file; far more than anybody's users."""

T = TypeVar("T")


def read(path: str, parse: Callable[[str], T]) -> T:
    """Read a file.

    :param parse: of its text; raises :class:`~rtunnel.routing.lines.LineError`.
    :raises SettingsError: it cannot be read, or a line of it cannot be had: then the key is ``PATH:LINE``.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(path, None, f"cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise SettingsError(path, None, "is not text in UTF-8") from None
    if len(text) > MAX_BYTES:
        raise SettingsError(path, None, f"is longer than {MAX_BYTES // 2**20} MiB")
    try:
        return parse(text)
    except LineError as error:
        raise SettingsError(f"{path}:{error.line}", None, error.hint) from None


_Stamp = tuple[int, ...] | None


class FileWatcher:
    """Looks at files every :data:`LOOK` seconds; reads them again when they changed and then stood still from one look to the next.

    Owned by who starts and stops it. What goes wrong is logged, once for each change; nothing is changed by it.

    :param paths: of the files; links are followed, so that it sees what Kubernetes does with a mounted Secret.
    :param reload: reads them; raises :class:`~rtunnel.settings.SettingsError`.
    :param reactor: the clock.
    """

    def __init__(self, paths: tuple[str, ...], reload: Callable[[], object], reactor: Any) -> None:
        self._paths = paths
        self._reload = reload
        self._looking = LoopingCall(self._look)
        self._looking.clock = reactor
        self._read = self._seen = self._stamps()
        self._log = Logger()

    def start(self) -> None:
        """Begin to look."""
        if self._paths:
            self._looking.start(LOOK, now=False)

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    def _look(self) -> None:
        seen, self._seen = self._seen, self._stamps()
        if self._seen == self._read or self._seen != seen:
            return
        self._read = self._seen
        try:
            self._reload()
        except SettingsError as error:
            self._log.error("{error}; what was read before stays in force", error=str(error))
        except Exception:
            self._log.failure("a file could not be read again; what was read before stays in force")

    def _stamps(self) -> tuple[_Stamp, ...]:
        return tuple(map(_stamp, self._paths))


def _stamp(path: str) -> _Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
