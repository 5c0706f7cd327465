"""The first process of a server with several: it starts the others, watches them, and answers for all of them.

It serves nobody itself. What the workers share it keeps, unless there is a Redis for it; it has the admin endpoint, the log, the
pid file and the signals. A worker that has ended is started again, and the others go on meanwhile; when the supervisor is gone the
workers end.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from rtunnel.ops.process import ProcessService
from rtunnel.ops.start import StartError, cannot_listen
from rtunnel.ops.status import Queries, ServiceStatus
from rtunnel.registry.memory import MemoryHub
from rtunnel.registry.served import ServedRegistry
from rtunnel.server.plan import ServerPlan, planned_listeners
from rtunnel.settings import Address, ServerSettings
from rtunnel.transport.passed_sockets import PassedSockets
from rtunnel.transport.sockets import reserve
from rtunnel.transport.unix_sockets import listen_unix
from rtunnel.workers.asking import ask
from rtunnel.workers.merging import merged_metrics, merged_status
from rtunnel.workers.places import Places
from rtunnel.workers.process import Surroundings, Worker

__all__ = ["Supervisor"]

SWEEP: Final = 1.0
"""Seconds between two looks at the workers."""
LAST: Final = 15.0
"""Seconds after which workers that should have ended, their delays included, are killed."""
FAILED: Final = 1
"""The exit status when the first workers cannot start."""


class Supervisor(Service):
    """See the module; it is where the processes, the ports and the answers meet, hence its length.

    :param settings: those of the server, with several workers.
    :param arguments: the options that they come from, for the workers.
    """

    live = frozenset(("listeners", "drain", "stop_delay"))
    """As of a server: the workers do what they can change."""
    _log = Logger()

    def __init__(self, settings: ServerSettings, arguments: Sequence[str], reactor: Any) -> None:
        self.settings = settings
        self.on_over: Callable[[], None] = lambda: None
        """Never called: there is always something to do for a server."""
        self._arguments = arguments
        self._reactor = reactor
        self._passed = PassedSockets.take(reactor)
        self._reserved: dict[Address, socket.socket] = {}
        self._places: Places | None = None
        self._hub: Any = None
        self._lock = -1
        self._workers: list[Worker] = []
        self._complete = False
        """Whether all workers have been ready."""
        self._waiting: list[Deferred[None]] = []
        self._documents: dict[int, dict[str, Any]] = {}
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = reactor
        self._swept = 0.0

    # -- begin

    def startService(self) -> None:
        """Make what the workers need, and start them.

        :raises StartError: a port is in use, or there is no place for the sockets.
        """
        self._reserve(self.settings)
        try:
            self._places = places = self._make_places()
            if self.settings.registry.address is None:
                self._hub = listen_unix(self._reactor, places.registry, ServedRegistry(MemoryHub()))
            common = Surroundings(self._arguments, places, self._passed.all, os.environ)
            self._workers = [
                Worker(number, common, on_ready=self._look, on_ended=self._ended, reactor=self._reactor)
                for number in range(1, self.settings.workers + 1)
            ]
            super().startService()  # type: ignore[no-untyped-call]
            for worker in self._workers:
                worker.start()
        except StartError:
            self._remove()
            raise
        except (CannotListenError, OSError) as error:
            self._remove()
            raise StartError(f"the workers cannot share anything: {error}") from error
        self._swept = self._reactor.seconds()
        self._sweeping.start(SWEEP, now=False)
        self._log.info("{count} workers start", count=len(self._workers))

    def _make_places(self) -> Places:
        try:
            places = Places(Path(tempfile.mkdtemp(prefix="rtunnel-")))
        except OSError as error:
            raise StartError(
                f"workers need a directory for their sockets: {error.strerror or error}; set TMPDIR to one that can be written to"
            ) from error
        # held for as long as we run: systemd-tmpfiles(8) removes nothing old from a directory that is locked
        self._lock = os.open(places.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        descriptor = os.open(places.secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(token_hex(32))
        return places

    def _reserve(self, settings: ServerSettings) -> None:
        """Keep the ports: no other program shall listen there, even while a worker is away; those not wanted any more are free."""
        wanted = ServerPlan.between((), planned_listeners(settings)).roles
        opened: dict[Address, socket.socket] = {}
        for key, role in wanted.items():
            address = key.address
            if address in self._reserved or address in opened or self._passed.find(address.host, address.port) is not None:
                continue
            try:
                opened[address] = reserve(address.host, address.port)
            except OSError as error:
                for other in opened.values():
                    other.close()
                raise cannot_listen(role, address, error) from error
        addresses = {key.address for key in wanted}
        for address in [address for address in self._reserved if address not in addresses]:
            self._reserved.pop(address).close()
        self._reserved |= opened

    # -- how it goes

    @property
    def ready(self) -> bool:
        """Whether all workers have been ready once, and one of them is now."""
        return bool(self.running) and self._complete and any(worker.state == "ready" for worker in self._workers)

    def when_ready(self) -> Deferred[None]:
        """Fire when all workers are ready."""
        if self._complete:
            return succeed(None)
        deferred: Deferred[None] = Deferred()
        self._waiting.append(deferred)
        return deferred

    def _look(self) -> None:
        """A worker has become ready."""
        if self._complete or not all(worker.was_ready for worker in self._workers):
            return
        self._complete = True
        self._log.info("all {count} workers are ready", count=len(self._workers))
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    def _ended(self, worker: Worker) -> bool:
        """A worker has ended: one that never was ready says why, and without a good start there is nothing to watch."""
        if not self.running:
            return False
        if self._complete or worker.was_ready:
            return True
        self._log.critical("worker {number} cannot start", number=worker.number)
        if isinstance(self.parent, ProcessService):
            self.parent.end(FAILED)
        return False

    def _sweep(self) -> None:
        now = self._reactor.seconds()
        elapsed, self._swept = now - self._swept, now
        for worker in self._workers:
            worker.sweep(elapsed)

    # -- reload

    def reload(self, settings: ServerSettings) -> list[str]:
        """Keep the new ports, and have the workers read the same sources; each applies them, and says so.

        :raises StartError: a port is in use; then nothing has changed.
        """
        self._reserve(settings)
        self.settings = settings
        for worker in self._workers:
            worker.send(signal.SIGHUP)
        return [f"{len(self._workers)} workers reload"]

    # -- end

    def stopService(self) -> Deferred[None]:
        """Stop all workers, each of which drains; fires when all have ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._sweeping.running:
            self._sweeping.stop()
        last = self._reactor.callLater(self.settings.stop_delay + self.settings.drain + LAST, self._kill)

        def over(_: object) -> Deferred[None]:
            if last.active():
                last.cancel()
            return self._remove()

        return DeferredList([worker.stop() for worker in self._workers], consumeErrors=True).addCallback(over)

    def _kill(self) -> None:
        for worker in self._workers:
            if worker.pid is not None:
                self._log.error("worker {worker} does not stop, and is killed", worker=worker.number)
                worker.send(signal.SIGKILL)

    def _remove(self) -> Deferred[None]:
        """Remove what was made for the workers; fires when that is done."""
        for kept in self._reserved.values():
            kept.close()
        self._reserved.clear()
        hub, self._hub = self._hub, None
        # which removes its socket itself, from a directory that must be there
        closed: Deferred[Any] = succeed(None) if hub is None else maybeDeferred(hub.stopListening)
        return closed.addCallback(self._remove_places)

    def _remove_places(self, _: object) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if self._places is not None:
            shutil.rmtree(self._places.directory, ignore_errors=True)

    # -- answers

    async def _ask_all(self, question: bytes) -> dict[int, bytes]:
        """What the workers answer that do, by their numbers."""
        assert self._places is not None
        asked = {worker.number: worker.pid for worker in self._workers if worker.pid is not None and worker.state != "starting"}
        answers = await DeferredList(
            [ask(self._places.admin(pid), question, self._reactor) for pid in asked.values()], consumeErrors=True
        )
        return {
            number: answer[1] for number, (succeeded, answer) in zip(asked, answers, strict=True) if succeeded and answer[0] == 200
        }

    def metrics(self) -> Deferred[bytes]:
        """The metrics of all workers."""
        return Deferred.fromCoroutine(self._metrics())

    async def _metrics(self) -> bytes:
        texts = await self._ask_all(b"/metrics")
        running = sum(worker.pid is not None for worker in self._workers)
        return merged_metrics(texts, running=running, restarts=sum(worker.restarts for worker in self._workers))

    def refresh(self) -> Deferred[None]:
        """Ask the workers for their status."""
        return Deferred.fromCoroutine(self._refresh())

    async def _refresh(self) -> None:
        self._documents = {number: json.loads(text) for number, text in (await self._ask_all(b"/status")).items()}

    def status(self) -> ServiceStatus:
        """What they have answered, together."""
        workers = [worker.status for worker in self._workers]
        return merged_status(self._documents, workers, shares_alone=self.settings.registry.address is None)

    @property
    def queries(self) -> Queries:
        """Any worker that is ready can answer: they choose alike."""
        return {b"/explain": self._explain}

    def _explain(self, query: bytes) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self._ask_one(b"/explain?" + query))

    async def _ask_one(self, question: bytes) -> bytes:
        assert self._places is not None
        for worker in self._workers:
            if worker.state == "ready" and worker.pid is not None:
                status, text = await ask(self._places.admin(worker.pid), question, self._reactor)
                if status == 200:
                    return text
                raise ValueError(text.decode("utf-8", "replace").strip())
        raise ValueError("no worker is ready")
