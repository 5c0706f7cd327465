"""The word to systemd, heard at a real socket."""

from __future__ import annotations

import os
import re
import socket
from uuid import uuid4

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.systemd import Notifier, NotifyService


class Manager:
    """The end of the service manager: a datagram socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(address)

    def heard(self) -> list[str]:
        """Return what has come since the last look."""
        words = []
        while True:
            try:
                words.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return words


class ManagerTestCase(SynchronousTestCase):
    def manager(self, **environ: str) -> tuple[Manager, Notifier]:
        """Return a manager and a notifier that was told of it."""
        # a name in the abstract namespace: the path of a test's folder may be longer than a socket's may be
        name = f"rtunnel-test-{uuid4()}"
        manager = Manager(f"\0{name}")
        self.addCleanup(manager.socket.close)
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": f"@{name}", **environ})
        assert notifier is not None
        return manager, notifier


class NotifierTests(ManagerTestCase):
    def test_words(self) -> None:
        manager, notifier = self.manager()
        notifier.ready()
        notifier.ready("2 listeners are up")
        notifier.status("joined")
        notifier.alive()
        notifier.stopping()
        self.assertEqual(
            manager.heard(),
            ["READY=1", "READY=1\nSTATUS=2 listeners are up", "STATUS=joined", "WATCHDOG=1", "STOPPING=1"],
        )

    def test_reloading(self) -> None:
        manager, notifier = self.manager()
        notifier.reloading()
        (word,) = manager.heard()
        self.assertRegex(word, re.compile(r"\ARELOADING=1\nMONOTONIC_USEC=[0-9]+\Z"))

    def test_a_status_is_one_line(self) -> None:
        manager, notifier = self.manager()
        notifier.status("lost\nREADY=1")
        self.assertEqual(manager.heard(), ["STATUS=lost READY=1"])

    def test_socket_with_a_path(self) -> None:
        before = os.getcwd()
        folder = self.mktemp()
        os.makedirs(folder)
        os.chdir(folder)
        self.addCleanup(os.chdir, before)
        manager = Manager("notify")
        self.addCleanup(manager.socket.close)
        notifier = Notifier("notify")
        notifier.ready()
        self.assertEqual(manager.heard(), ["READY=1"])

    def test_nobody_there(self) -> None:
        """The service goes on; the log says it once."""
        notifier = Notifier(f"@rtunnel-test-{uuid4()}")
        notifier.ready()
        notifier.alive()

    def test_gone_and_back(self) -> None:
        """PID 1 may restart itself."""
        manager, notifier = self.manager()
        address = manager.socket.getsockname().decode()
        manager.socket.close()
        notifier.alive()
        again = Manager(address)
        self.addCleanup(again.socket.close)
        notifier.alive()
        self.assertEqual(again.heard(), ["WATCHDOG=1"])


class EnvironmentTests(SynchronousTestCase):
    def test_nobody_asks(self) -> None:
        for environ in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/"}, {"NOTIFY_SOCKET": "vsock:2:9999"}):
            self.assertIsNone(Notifier.from_environment(environ))

    def watchdog(self, **environ: str) -> float | None:
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": "/run/systemd/notify", **environ})
        assert notifier is not None
        return notifier.watchdog

    def test_watchdog(self) -> None:
        self.assertEqual(self.watchdog(WATCHDOG_USEC="30000000"), 30.0)
        self.assertEqual(self.watchdog(WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid())), 30.0)

    def test_no_watchdog(self) -> None:
        self.assertIsNone(self.watchdog())
        self.assertIsNone(self.watchdog(WATCHDOG_USEC="30000000", WATCHDOG_PID="1"))
        for text in ("0", "", "-1", "1.5", "soon", "\u0661"):
            self.assertIsNone(self.watchdog(WATCHDOG_USEC=text), text)


class ServiceTests(ManagerTestCase):
    def test_ready_when_it_is(self) -> None:
        manager, notifier = self.manager()
        ready: Deferred[None] = Deferred()
        service = NotifyService(notifier, when_ready=lambda: ready, reactor=Clock(), status="joined")
        service.startService()
        self.assertEqual(manager.heard(), [])
        ready.callback(None)
        self.assertEqual(manager.heard(), ["READY=1\nSTATUS=joined"])
        service.stopService()
        self.assertEqual(manager.heard(), ["STOPPING=1"])

    def test_never_ready_after_the_end_began(self) -> None:
        manager, notifier = self.manager()
        ready: Deferred[None] = Deferred()
        service = NotifyService(notifier, when_ready=lambda: ready, reactor=Clock())
        service.startService()
        service.stopService()
        ready.callback(None)
        self.assertEqual(manager.heard(), ["STOPPING=1"])

    def test_failed_start(self) -> None:
        manager, notifier = self.manager()
        service = NotifyService(notifier, when_ready=lambda: fail(OSError("no")), reactor=Clock())
        service.startService()
        self.assertEqual(manager.heard(), [])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_signs_of_life(self) -> None:
        manager, notifier = self.manager(WATCHDOG_USEC="30000000")
        clock = Clock()
        service = NotifyService(notifier, when_ready=lambda: succeed(None), reactor=clock)
        service.startService()
        self.assertEqual(manager.heard(), ["WATCHDOG=1", "READY=1"])
        clock.advance(14.9)
        self.assertEqual(manager.heard(), [])
        clock.advance(0.1)
        self.assertEqual(manager.heard(), ["WATCHDOG=1"])
        service.stopService()
        self.assertEqual(manager.heard(), ["STOPPING=1"])
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_no_watchdog_no_timer(self) -> None:
        _manager, notifier = self.manager()
        clock = Clock()
        NotifyService(notifier, when_ready=Deferred, reactor=clock).startService()
        self.assertEqual(clock.getDelayedCalls(), [])
