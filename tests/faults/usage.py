"""What a process uses, as the kernel says (``/proc``), and its highest values while something goes on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from attrs import frozen

__all__ = ["MIB", "Usage", "Watch"]

MIB = 1 << 20


@frozen
class Usage:
    """Of one process, at one moment.

    :param resident: memory, in bytes.
    :param descriptors: open file descriptors.
    :param threads: of the system.
    """

    resident: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Ask the kernel.

        :raises OSError: there is no such process.
        """
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return cls(
            resident=int(fields["VmRSS"].split()[0]) * 1024,
            descriptors=len(os.listdir(f"/proc/{pid}/fd")),
            threads=int(fields["Threads"]),
        )

    def up_to(self, other: Usage) -> Usage:
        """The higher value of each."""
        return Usage(max(self.resident, other.resident), max(self.descriptors, other.descriptors), max(self.threads, other.threads))


class Watch:
    """Looks at processes ten times a second, in a thread, until :meth:`stop`.

    :ivar peaks: the highest values of each, in the order of the processes.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self.peaks = [Usage.of(pid) for pid in pids]
        self._pids = pids
        self._over = Event()
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        # a process that has ended has no more peaks
        with suppress(OSError):
            while not self._over.wait(0.1):
                self.peaks = [peak.up_to(Usage.of(pid)) for peak, pid in zip(self.peaks, self._pids, strict=True)]

    def stop(self) -> list[Usage]:
        """Look no more, and return the peaks."""
        self._over.set()
        self._thread.join()
        return self.peaks
