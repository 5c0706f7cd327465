"""The supervisor with real workers: one service, ready, asked, reloaded and stopped as one."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from rtunnel.config.summary import summary
from rtunnel.ops.process import ProcessService
from rtunnel.ops.start import StartError
from rtunnel.routing.ingress import IngressRule
from rtunnel.settings import (
    Address,
    LimitSettings,
    ListenerSettings,
    PeerSettings,
    RegistryAddress,
    RegistrySettings,
    ServerSettings,
    SettingsError,
)
from rtunnel.workers.places import Places
from rtunnel.workers.supervisor import Supervisor
from rtunnel.workers.worker import WorkerOptions, settings_of
from tests.support.processes import LOOPBACK, free_port, hearing_hang_ups

HOST = "pod.local"
PATIENCE = 60.0
TUNNEL = uuid4()


def server_settings(*entrypoints: int, listen: int = 0, workers: int = 2, **more: Any) -> ServerSettings:
    """Settings of a server."""
    listener = ListenerSettings(
        listen=Address(LOOPBACK, listen or free_port()),
        entrypoints=tuple(Address(LOOPBACK, port) for port in entrypoints or (free_port(),)),
        rules=(IngressRule(HOST, TUNNEL),),
    )
    return ServerSettings(listeners=(listener,), workers=workers, drain=2.0, **more)


def supervisor_of(settings: ServerSettings, *more: str) -> Supervisor:
    """The supervisor of a server with these settings."""
    [listener] = settings.listeners
    arguments = [f"--listen={listener.listen}", f"--route={HOST}={TUNNEL}", "--workers=2", "--drain=2s", *more]
    arguments += [f"--entrypoint={address}" for address in listener.entrypoints]
    return Supervisor(settings, arguments, reactor)


class SupervisorTests(TestCase):
    timeout = 240

    async def until(self, condition: Any, what: str) -> None:
        """Wait for a condition."""
        for _ in range(int(PATIENCE / 0.05)):
            if condition():
                return
            await deferLater(reactor, 0.05)
        self.fail(f"waited in vain for: {what}")

    async def test_one_service(self) -> None:
        settings = server_settings()
        supervisor = supervisor_of(settings)
        self.assertFalse(supervisor.ready)
        with hearing_hang_ups():
            supervisor.startService()
        self.addCleanup(lambda: supervisor.stopService() if supervisor.running else None)
        places = supervisor._places
        assert places is not None
        await supervisor.when_ready()
        await supervisor.when_ready()
        self.assertTrue(supervisor.ready)
        metrics = (await supervisor.metrics()).decode()
        self.assertIn('rtunnel_server_visitors_total{worker="2"} 0.0', metrics)
        self.assertIn("rtunnel_workers 2.0", metrics)
        await supervisor.refresh()
        status = supervisor.status()
        self.assertEqual([worker.state for worker in status.workers], ["ready", "ready"])
        self.assertEqual([rule.host for rule in status.rules], [HOST])
        explain: Any = supervisor.queries[b"/explain"]
        self.assertIn("no client has joined the tunnel", (await explain(f"host={HOST}".encode())).decode())
        with self.assertRaises(ValueError):
            await explain(b"x=y")

        first = supervisor._workers[0]
        self.assertIsNotNone(first.pid)
        os.kill(int(first.pid or 0), signal.SIGKILL)
        await self.until(lambda: first.restarts == 1 and first.state == "ready", "it is there again")
        self.assertTrue(supervisor.ready)

        port = free_port()
        [listener] = settings.listeners
        wider = attrs.evolve(
            settings, listeners=(attrs.evolve(listener, entrypoints=(*listener.entrypoints, Address(LOOPBACK, port))),)
        )
        self.assertEqual(supervisor.reload(wider), ["2 workers reload"])
        with socket.socket() as taken:
            self.assertRaises(OSError, taken.bind, (LOOPBACK, port))
        self.assertEqual(supervisor.reload(settings), ["2 workers reload"])
        with socket.socket() as free:
            free.bind((LOOPBACK, port))

        supervisor._sweep()
        await supervisor.stopService()
        self.assertFalse(supervisor.ready or places.directory.exists())
        self.assertEqual([worker.pid for worker in supervisor._workers], [None, None])

    async def test_a_worker_that_cannot_start(self) -> None:
        """It ends the process, with a status."""
        supervisor = supervisor_of(server_settings(), f"--users={Path(self.mktemp()).absolute()}")
        ended: Deferred[int] = Deferred()
        process = ProcessService(reactor, 2.0)
        self.patch(process, "end", lambda status: None if ended.called else ended.callback(status))
        supervisor.setServiceParent(process)
        supervisor.startService()
        self.assertEqual(await ended, 1)
        await supervisor.stopService()

    async def test_port_in_use(self) -> None:
        """Nothing is started, and nothing stays reserved."""
        settings = server_settings()
        with socket.create_server((LOOPBACK, settings.listeners[0].entrypoints[0].port)):
            error = self.assertRaises(StartError, supervisor_of(settings).startService)
        self.assertIn("the entrypoint cannot listen on", str(error))
        listen = settings.listeners[0].listen
        assert listen is not None
        with socket.socket() as free:
            free.bind((LOOPBACK, listen.port))

    async def test_no_place(self) -> None:
        self.patch(__import__("tempfile"), "tempdir", "/nowhere")
        error = self.assertRaises(StartError, supervisor_of(server_settings()).startService)
        self.assertIn("set TMPDIR", str(error))


class WorkerSettingsTests(SynchronousTestCase):
    """What of the settings of a server is that of one worker."""

    PLACES = Places(Path("/nowhere"))
    """There are no files in it."""

    def test_alone(self) -> None:
        settings = settings_of(server_settings(admin=Address(LOOPBACK, 8480)), 2, self.PLACES)
        self.assertEqual((settings.workers, settings.admin, settings.admin_socket), (1, None, True))
        self.assertEqual(settings.peer.secret_file, "/nowhere/secret")
        self.assertGreater(settings.limits.buffered or 0, 0)

    def test_limits_that_are_given_stay(self) -> None:
        settings = settings_of(server_settings(limits=LimitSettings(buffered=1 << 21)), 1, self.PLACES)
        self.assertEqual(settings.limits.buffered, 1 << 21)

    def test_with_a_registry(self) -> None:
        registry = RegistrySettings(address=RegistryAddress(scheme="redis", hosts=(Address("redis", 6379),)))
        peer = PeerSettings(listen=Address("", 8424), address=Address("10.0.0.1", 9424), secret_file="/secret")
        whole = server_settings(registry=registry, peer=peer, workers=3)
        self.assertEqual(list(whole.peer_ports), [8424, 8425, 8426])
        third = settings_of(whole, 3, self.PLACES)
        self.assertEqual((str(third.peer.listen), str(third.peer.address)), (":8426", "10.0.0.1:9426"))
        told = settings_of(attrs.evolve(whole, peer=attrs.evolve(peer, address=Address("a", 0))), 3, self.PLACES)
        self.assertEqual(str(told.peer.address), "a:0")

    def test_service(self) -> None:
        """It shares with the others over sockets, or as the server does."""
        places = Places(Path(self.mktemp()).absolute())
        places.directory.mkdir()
        Path(places.secret).write_text("a secret of all the workers")
        options = WorkerOptions(2, places)
        options.parseOptions(
            [f"--listen=127.0.0.1:{free_port()}", f"--entrypoint=127.0.0.1:{free_port()}", f"--route={HOST}={TUNNEL}"]
        )
        self.assertEqual((options.notices, options.resolved.warnings), ((), ()))
        service: Any = options.make_service(reactor)
        status = service.replicas.shared.status()
        self.assertEqual((status.address, status.available), ("supervisor", False))


class CheckTests(SynchronousTestCase):
    """What several workers need is said before anything starts."""

    def refused(self, key: str, words: str, **more: Any) -> None:
        error = self.assertRaises(SettingsError, server_settings, **more)
        self.assertEqual(error.key, key)
        self.assertIn(words, str(error))

    def test_ports(self) -> None:
        listener = ListenerSettings(listen=Address("", 0), entrypoints=(Address("", 8080),), direct=True)
        error = self.assertRaises(SettingsError, ServerSettings, (listener,), workers=2)
        self.assertIn("several workers need a port that all of them know", str(error))
        self.assertEqual(ServerSettings((listener,)).workers, 1)

    def test_peers(self) -> None:
        registry = RegistrySettings(address=RegistryAddress(scheme="redis", hosts=(Address("redis", 6379),)))
        peer = PeerSettings(listen=Address(LOOPBACK, 8424), secret_file="/secret")
        self.refused("peer.listen", "missing", registry=registry)
        self.refused("peer.listen", "has no use without --registry", peer=peer)
        self.refused("admin", "already used by peer.listen", registry=registry, peer=peer, admin=Address(LOOPBACK, 8425))

    def test_system(self) -> None:
        self.patch(sys, "platform", "darwin")
        self.refused("workers", "Linux")

    def test_summary(self) -> None:
        self.assertIn("3 workers", summary(server_settings(workers=3)))
        self.assertNotIn("worker", summary(server_settings(workers=1)))
