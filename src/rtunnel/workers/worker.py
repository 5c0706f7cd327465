"""One worker: a server like any other, whose surroundings the supervisor has made.

It has its directory (``RUNTIME_DIRECTORY``), its notifications (``NOTIFY_SOCKET``) and sockets that were passed on
(``LISTEN_FDS``) as a unit of systemd would; its log goes to the supervisor, and it ends when that one is gone.
"""

from __future__ import annotations

import os
import select
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from platform import node
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet.error import ConnectionDone, ReactorNotRunning
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from rtunnel.commands.server import Options
from rtunnel.ops.memory import memory_limit
from rtunnel.registry.interfaces import SharedRegistry
from rtunnel.registry.opening import open_registry
from rtunnel.roles import Resolved
from rtunnel.roles.service import RoleService
from rtunnel.settings import PeerSettings, ServerSettings
from rtunnel.workers.logs import to_supervisor
from rtunnel.workers.places import Places

__all__ = ["run", "settings_of"]


def settings_of(settings: ServerSettings, number: int, places: Places) -> ServerSettings:
    """The settings of one worker, out of those of the server.

    :param number: from 1 on.
    """
    limits = settings.limits
    if limits.buffered is None:
        limits = attrs.evolve(limits, buffered=max(memory_limit() // 4 // settings.workers, 1 << 20))
    return attrs.evolve(settings, admin=None, admin_socket=True, workers=1, limits=limits, peer=_peer(settings, number, places))


def _peer(settings: ServerSettings, number: int, places: Places) -> PeerSettings:
    """How the others reach it: at a port of its own, or where all share one machine, at a socket."""
    peer = settings.peer
    if settings.registry.address is None or peer.listen is None:
        return PeerSettings(secret_file=places.secret)
    listen = attrs.evolve(peer.listen, port=peer.listen.port + number - 1)
    told = peer.address
    if told is not None and told.port:
        told = attrs.evolve(told, port=told.port + number - 1)
    return attrs.evolve(peer, listen=listen, address=told)


class WorkerOptions(Options):
    """The options of the server, for one worker.

    :param number: from 1 on.
    """

    def __init__(self, number: int, places: Places) -> None:
        super().__init__()
        self._number = number
        self._places = places

    def resolve(self) -> Resolved[Any]:
        """The settings of this worker; what there is to say about them, the supervisor has said."""
        resolved = super().resolve()
        return Resolved(settings_of(resolved.settings, self._number, self._places), ())

    @property
    def notices(self) -> tuple[str, ...]:
        return ()

    def make_service(self, reactor: Any) -> RoleService:
        from rtunnel.server.replicas import WorkerPlace
        from rtunnel.server.service import ServerService

        alone = self.resolved.settings.registry.address is None
        name = f"worker {self._number}"
        place = WorkerPlace(
            name=name if alone else f"{node()} {name}",
            socket=self._places.peer(self._number, os.getpid()) if alone else None,
        )
        return ServerService(self.resolved.settings, reactor, self._registry(reactor), place)

    def _registry(self, reactor: Any) -> SharedRegistry:
        shared = open_registry(self.resolved.settings.registry, reactor)
        if shared is not None:
            return shared
        from rtunnel.registry.socket_registry import SocketRegistry
        from rtunnel.transport.unix_sockets import UnixClientEndpoint

        path = self._places.registry
        return SocketRegistry(UnixClientEndpoint(reactor, path), "supervisor", lambda: _stop(reactor, "its registry is gone"))


@implementer(IReadDescriptor)
class _Supervisor:
    """The pipe from the supervisor, which says nothing and ends with it.

    :param on_gone: called then.
    """

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self._on_gone = on_gone

    def fileno(self) -> int:
        return 0

    def doRead(self) -> Failure | None:
        """Anything else than the end is nothing to us."""
        if os.read(0, 1024):
            return None
        self._on_gone()
        return Failure(ConnectionDone())

    def connectionLost(self, reason: Failure) -> None:
        """Also at our own end."""

    def logPrefix(self) -> str:
        """What Twisted's own log calls it."""
        return "supervisor"


def _is_alone() -> bool:
    """Whether the supervisor has ended."""
    readable, _, _ = select.select([0], [], [], 0)
    return bool(readable) and not os.read(0, 1)


def _stop(reactor: Any, why: str) -> None:
    Logger().warn("stopping: {why}", why=why)
    with suppress(ReactorNotRunning):
        reactor.stop()


def run(number: int, places: Places, arguments: Sequence[str], reactor: Any) -> None:
    """Run a worker until it is stopped.

    :param number: from 1 on.
    :param arguments: the options of the server.
    :param reactor: runs in here.
    """
    # it takes the reactor that is installed, and must not be the first to do so
    from rtunnel.tap import makeService

    options = WorkerOptions(number, places)
    options.parseOptions(arguments)
    service = makeService(SimpleNamespace(subOptions=options, parent=None))  # type: ignore[arg-type]
    globalLogBeginner.beginLoggingTo([to_supervisor(number)], redirectStandardIO=False, discardBuffer=False)
    reactor.addReader(_Supervisor(lambda: _stop(reactor, "its supervisor is gone")))
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    service.privilegedStartService()
    service.startService()
    reactor.run()
    if _is_alone():
        # the directory was the supervisor's
        shutil.rmtree(places.directory, ignore_errors=True)
