"""The file of the access log: written by a thread, so that a disk that blocks holds up no request."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from rtunnel.ops.start import StartError
from rtunnel.settings.access_log import STDOUT

__all__ = ["MAX_QUEUED", "AccessFile"]

FLUSH = 0.5
"""Seconds between two batches: how late a line may stand in the file."""
MAX_QUEUED = 16 * 2**20
"""Bytes that may wait for the disk; lines beyond are dropped and counted."""
TIMEOUT = 2.0
"""Seconds that the last lines may take when the process ends."""
MODE = 0o640
"""The mode of a new file: it contains who visited what, which others must not read."""

PIECE = 64
"""Number of lines that are made at a time: many, because that is faster than one between two requests each; few, so that their
memory is still in the cache when it is used again."""
PIPE = 4096
"""Bytes that a pipe takes in one piece (POSIX PIPE_BUF of Linux), so that lines of the log cannot come in between."""

Batch = list[bytes]
"""Whole lines, many in each piece."""


T = TypeVar("T")


class AccessFile(Service, Generic[T]):
    """Collects what is to be logged and appends a line of each to a file, from its start until it is stopped.

    Each batch looks whether the file is still the one of that name, and opens it anew when not: logrotate needs to send no signal.
    When the file cannot be written to, its lines are dropped and counted, and the log says so once.

    :param path: of the file, ``-`` for stdout.
    :param line: makes the line, with its end.
    :param dropped: called with the number of lines that were dropped.
    :param reactor: the clock of the batches, and where the thread's complaints go.
    """

    def __init__(self, path: str, *, line: Callable[[T], str], dropped: Callable[[int], None], reactor: Any) -> None:
        self._path = path
        self._dropped = dropped
        self._reactor = reactor
        self._line = line
        self._ended: list[T] = []
        """What no line was made of yet."""
        self._pieces: Batch = []
        self._waiting = 0
        """Bytes of the pieces that are not written yet."""
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._file = _File(path)
        self._thread = Thread(target=self._work, name="access log", daemon=True)
        self._flushing = LoopingCall(self.flush)
        self._flushing.clock = reactor
        self._failing = False
        self._log = Logger()

    def startService(self) -> None:
        """Open the file.

        :raises StartError: it cannot be opened.
        """
        try:
            self._file.open()
        except OSError as error:
            raise StartError(f"the access log cannot be written to {self._path}: {error.strerror or error}") from error
        super().startService()  # type: ignore[no-untyped-call]
        self._thread.start()
        self._flushing.start(FLUSH, now=False)

    def stopService(self) -> None:
        """Write what is left, as far as the disk takes it in time."""
        super().stopService()  # type: ignore[no-untyped-call]
        if not self._flushing.running:
            return
        self._flushing.stop()
        self.flush()
        self._batches.put(None)
        self._thread.join(TIMEOUT)

    def write(self, ended: T) -> None:
        """Take what is over."""
        self._ended.append(ended)
        if len(self._ended) >= PIECE:
            self._make_lines()

    def _make_lines(self) -> None:
        ended, self._ended = self._ended, []
        if self._waiting > MAX_QUEUED:
            self._lose(len(ended))
            return
        piece = "".join(map(self._line, ended)).encode()
        self._waiting += len(piece)
        self._pieces.append(piece)

    def flush(self) -> None:
        """Give the thread what there is."""
        if self._ended:
            self._make_lines()
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._batches.put(pieces)

    # -- in the thread: it touches the file and the batch, nothing else

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                self._file.append(batch)
                problem = ""
            except OSError as error:
                problem = error.strerror or str(error)
            with suppress(Exception):  # the reactor may be gone
                self._reactor.callFromThread(self._written, batch, problem)
        self._file.close()

    # -- in the reactor again

    def _written(self, batch: Batch, problem: str) -> None:
        self._waiting -= sum(map(len, batch))
        if problem:
            self._lose(sum(piece.count(b"\n") for piece in batch), problem)
        elif self._failing:
            self._failing = False
            self._log.info("the access log is written again")

    def _lose(self, lines: int, problem: str = "the disk is too slow") -> None:
        self._dropped(lines)
        if not self._failing:
            self._failing = True
            self._log.warn("lines of the access log {path} are dropped: {problem}", path=self._path, problem=problem)


class _File:
    """A file that is appended to; stays the one of its name when that is moved away."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def open(self) -> None:
        if self._path == STDOUT:
            self._descriptor = os.dup(1)
        else:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            if sys.platform == "win32":
                self._descriptor = os.open(self._path, flags, MODE)
                return
            # a named pipe without a reader is an error and nothing to wait for
            self._descriptor = os.open(self._path, flags | os.O_CLOEXEC | os.O_NONBLOCK, MODE)
            os.set_blocking(self._descriptor, True)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def append(self, batch: Batch) -> None:
        """Write lines.

        :raises OSError: not all could be written.
        """
        if self._path == STDOUT:
            batch = list(_for_pipe(b"".join(batch)))
        elif not self._is_current():
            self.close()
            self.open()
        for piece in batch:
            self._write(piece)

    def _is_current(self) -> bool:
        try:
            return self._descriptor >= 0 and os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]


def _for_pipe(lines: bytes) -> Iterator[bytes]:
    """The lines, as many at a time as a pipe takes in one piece; a longer line goes alone."""
    start = 0
    while start < len(lines):
        end = lines.rfind(b"\n", start, start + PIPE) + 1 or lines.index(b"\n", start) + 1
        yield lines[start:end]
        start = end
