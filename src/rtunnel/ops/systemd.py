"""Notification of systemd: ready, stopping, watchdog (sd_notify(3)).

No library is needed: the protocol is one datagram of ``KEY=VALUE`` lines to ``$NOTIFY_SOCKET``, and the packages for it either bind
libsystemd or are untyped and unmaintained.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["Notifier", "NotifyService"]

SEND_TIMEOUT = 1.0
"""Seconds that a send may wait for a service manager that does not read."""


class Notifier:
    """Notifies the service manager; opens a socket for each message, never raises.

    :param address: the path of a datagram socket, or ``@`` and a name in the abstract namespace.
    :param watchdog: seconds without :meth:`alive` after which the manager kills the process, ``None`` without a watchdog.
    """

    __slots__ = ("_address", "_failed", "_log", "watchdog")

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._failed = False
        self._log = Logger()
        self.watchdog = watchdog

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Notifier | None:
        """Make one from ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``.

        :returns: ``None`` if no notification is wanted, or only over something other than a unix socket.
        """
        address = environ.get("NOTIFY_SOCKET", "")
        if address[:1] not in ("/", "@") or len(address) < 2:
            return None
        return cls(address, _watchdog(environ))

    def ready(self, status: str = "") -> None:
        """The start or reload is complete.

        :param status: one line for ``systemctl status``, or ``""``.
        """
        self._send("READY=1", status)

    def reloading(self) -> None:
        """A reload begins; :meth:`ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """The stop begins."""
        self._send("STOPPING=1", status)

    def status(self, text: str) -> None:
        """Send one line for ``systemctl status``."""
        self._send("", text)

    def alive(self) -> None:
        """The reactor is alive."""
        self._send("WATCHDOG=1")

    def _send(self, state: str, status: str = "") -> None:
        lines = [state] if state else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_TIMEOUT)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._failed:
                self._log.warn("cannot notify the service manager: {reason}", reason=error.strerror or str(error))
            self._failed = True
        else:
            self._failed = False


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Return the watchdog's time in seconds, if it watches this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    time_limit = environ.get("WATCHDOG_USEC", "")
    return int(time_limit) / 1e6 if time_limit.isascii() and time_limit.isdigit() and int(time_limit) else None


class NotifyService(Service):
    """Sends READY when the process is ready, STOPPING when it stops, and watchdog notifications in between.

    Stop it before all other services: systemd ends the watchdog at STOPPING, and measures the time of the stop from there.

    :param notifier: sends the messages.
    :param when_ready: called at the start; READY is sent when its Deferred fires, never when it fails.
    :param status: the line for ``systemctl status`` that is sent with READY.
    :param reactor: the clock of the watchdog notifications, two in each time of the watchdog.
    """

    def __init__(self, notifier: Notifier, *, when_ready: Callable[[], Deferred[None]], reactor: Any, status: str = "") -> None:
        self._notifier = notifier
        self._when_ready = when_ready
        self._status = status
        self._alive = LoopingCall(notifier.alive)
        self._alive.clock = reactor
        self._log = Logger()

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        if self._notifier.watchdog is not None:
            self._alive.start(self._notifier.watchdog / 2)
        self._when_ready().addCallbacks(self._ready, self._not_ready)

    def _ready(self, _result: None) -> None:
        if self.running:
            self._notifier.ready(self._status)

    def _not_ready(self, failure: Failure) -> None:
        self._log.failure("cannot notify the service manager that the process is ready", failure=failure)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._alive.running:
            self._alive.stop()
        self._notifier.stopping()
