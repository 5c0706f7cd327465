"""The shared registry in Redis: a copy of what others have, and one's own records, kept up to date whatever happens.

Two threads wait for Redis (:mod:`rtunnel.registry.redis_threads`); everything here runs in the reactor's thread and never waits.
The subscription feeds the :class:`~rtunnel.registry.view.View`; the :class:`~rtunnel.registry.outbox.Outbox` says what is to be
written. Every :data:`BEAT_INTERVAL` the server gives a sign of life, with the number of its latest change, so that a lost message
is noticed; it hears its own signs, too, so that it notices when it hears nothing. While it hears nothing, nobody is gone.

An agreement is optimistic: read the count of the tunnel, hear everything that was published until then, decide, and write the
outcome together with the next count, if the count is still the same; otherwise decide again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from random import random as random_number
from secrets import token_bytes
from typing import Any, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.metrics.stats import RegistryStats, RegistryStatus
from rtunnel.registry import scripts
from rtunnel.registry.availability import Availability
from rtunnel.registry.interfaces import RegistryObserver, RegistryUnavailable
from rtunnel.registry.messages import STOPS, Change, encode_change
from rtunnel.registry.outbox import Outbox
from rtunnel.registry.records import ConnectorRecord, RecordError, ServerRecord
from rtunnel.registry.redis_client import Client, RedisError, client_factory, reason_of
from rtunnel.registry.redis_reader import RedisReader
from rtunnel.registry.redis_threads import CommandThread, SubscriptionThread
from rtunnel.registry.redis_writer import RedisWriter
from rtunnel.registry.scripts import Keys
from rtunnel.registry.view import SILENCE, View
from rtunnel.settings import RegistrySettings

__all__ = ["BEAT_INTERVAL", "CLAIM_TIMEOUT", "SILENT", "RedisRegistry"]

BEAT_INTERVAL = 1.5
"""Seconds between signs of life."""
TICK = 0.5
"""Seconds between looks at the clock."""
HEARING = 2 * BEAT_INTERVAL
"""Seconds since its last own sign of life for which a server certainly hears those of others, too."""
CLAIM_TIMEOUT = 5.0
"""Seconds for an agreement."""
MAX_TRIES = 20
"""How often something is decided again because something else was agreed on meanwhile."""
STOP_TIMEOUT = 2.0
"""Seconds for the last word."""
MIN_WAIT, MAX_WAIT = 0.5, 10.0
"""Seconds between attempts to subscribe."""

SILENT = "nothing is heard of it"
"""Why it is not available, as long as nothing else is known."""

T = TypeVar("T")


class RedisRegistry:
    """See :class:`~rtunnel.registry.interfaces.SharedRegistry`. It is where all parts meet, hence its length.

    :param settings: with an address.
    :param reactor: the reactor.
    :param random: returns numbers in [0, 1).
    :ivar stats: what has happened so far.
    """

    _log = Logger()
    _outbox: Outbox
    _view: View
    _reader: RedisReader
    _writer: RedisWriter
    _subscription: SubscriptionThread

    def __init__(self, settings: RegistrySettings, reactor: Any, random: Callable[[], float] = random_number) -> None:
        assert settings.address is not None
        self._settings = settings
        self._reactor = reactor
        self._random = random
        self._keys = Keys(settings.prefix, settings.address.database)
        self._new_client = client_factory(settings)
        self._commands = CommandThread(self._new_client, reactor)
        self.stats = RegistryStats()
        self._running = False
        self._subscribed = False
        self._writable = False
        """Whether the latest command was carried out."""
        self._echo = 0.0
        """When its own sign of life was heard last."""
        self._ticked = self._beat_due = 0.0
        self._beating = self._listing = False
        self._barriers: dict[bytes, Deferred[None]] = {}
        self._timer: Any = None

    # -- begin and end

    def start(self, server: ServerRecord, observer: RegistryObserver) -> None:
        """See the interface."""
        self._observer = observer
        self._own = server.id
        self._outbox = Outbox(server)
        self._view = View(server.id, observer)
        self._availability = Availability(str(self._settings.address), observer.availability, self.stats)
        shared = (self._commands, self._keys, self.stats)
        self._reader = RedisReader(self._view, *shared, on_over=self._look, on_failed=self._failed)
        self._writer = RedisWriter(
            self._outbox,
            *shared,
            may_write=lambda: self._running and self._writable,
            on_failed=self._failed,
            reactor=self._reactor,
        )
        self._subscription = SubscriptionThread(
            self._new_client,
            (self._keys.changes, self._keys.to(server.id)),
            on_subscribed=self._on_subscribed,
            on_message=self._on_message,
            on_lost=self._on_lost,
            wait=self._wait,
            reactor=self._reactor,
        )
        self._running = True
        self._ticked = self._reactor.seconds()
        self._commands.start()
        self._subscription.start()
        self._tick()

    def stop(self) -> Deferred[None]:
        """See the interface."""
        if not self._running:
            return succeed(None)
        self._running = self._reader.active = False
        self._timer.cancel()
        self._writer.stop()
        self._subscription.stop()
        last = self._run_script(scripts.STOP, *self._last_word()) if self._writable else succeed(None)
        self._commands.stop()
        last.addTimeout(STOP_TIMEOUT, self._reactor)
        return DeferredList([last], consumeErrors=True).addCallback(lambda _: None)

    def _wait(self, failures: int) -> float:
        """The seconds until the next attempt to subscribe: not the same for all servers."""
        return 0.0 if not failures else min(MIN_WAIT * 2 ** min(failures - 1, 10), MAX_WAIT) * (0.5 + self._random())

    # -- how it goes

    @property
    def complete(self) -> bool:
        """See the interface."""
        return self._running and self._availability.complete

    @property
    def available(self) -> bool:
        """See the interface."""
        return self._running and self._hears and self._reader.active and self._writable

    @property
    def _hears(self) -> bool:
        return self._subscribed and self._reactor.seconds() - self._echo < HEARING

    def status(self) -> RegistryStatus:
        """See the interface."""
        available = self.available
        return RegistryStatus(
            address=str(self._settings.address),
            available=available,
            complete=self.complete,
            servers=len(self._view.servers),
            connectors=self._view.connectors,
            published=len(self._outbox),
            reason="" if available else self._availability.reason or SILENT,
        )

    def _failed(self, error: Exception) -> None:
        if self._running:
            self._writable = False
            self._availability.reason = reason_of(error, self._settings)
            self._look()

    def _note_failure(self, failure: Failure) -> None:
        assert isinstance(failure.value, Exception)
        self._failed(failure.value)

    def _look(self) -> None:
        """Notice whether it is available, and whether the copy is complete."""
        if self._running:
            view = self._view
            self._availability.look(
                available=self.available, whole=not self._reader.missing, servers=len(view.servers), now=self._reactor.seconds()
            )

    # -- time

    def _tick(self) -> None:
        self._timer = self._reactor.callLater(TICK, self._tick)
        now = self._reactor.seconds()
        elapsed, self._ticked = now - self._ticked, now
        if self._hears:
            self._view.advance(elapsed)
        elif self._subscribed and now - self._echo > SILENCE:
            self._subscribed = self._reader.active = False
            self._availability.reason = self._availability.reason or SILENT
            self._subscription.again()
        if now >= self._beat_due and not self._beating:
            self._beat_due = now + BEAT_INTERVAL * (0.9 + 0.2 * self._random())
            self._beat()
        if self._subscribed and not self._reader.active and self._writable:
            self._list()
        self._reader.look_again()
        self._look()

    def _beat(self) -> None:
        """Give a sign of life; the first one that succeeds after an outage sets everything going again."""
        self._beating = True
        number = self._outbox.number

        def answered(answer: Any) -> None:
            self._writable = True
            if answer == scripts.LOST:
                self._writer.lost(number)
            self._writer.write()

        def over(_: object) -> None:
            self._beating = False
            self._look()

        keys = (self._keys.server(self._own), self._keys.servers)
        arguments = (str(self._own), number, scripts.SERVER_TTL, self._keys.changes, encode_change(self._own, number))
        self._run_script(scripts.BEAT, keys, arguments).addCallbacks(answered, self._note_failure).addBoth(over)

    # -- what is heard

    def _on_subscribed(self) -> None:
        self._subscribed = True
        self._reader.active = False
        self._echo = self._reactor.seconds()
        self._list()

    def _list(self) -> None:
        """Ask which servers there are, and read all that they have."""
        if self._listing:
            return
        self._listing = True

        def answered(servers: Any) -> None:
            if self._subscribed and self._running:
                self._writable = self._reader.active = True
                self._view.found(_ids(servers))
                self._reader.look_again()

        def over(_: object) -> None:
            self._listing = False

        listed = self._run_script(scripts.LIVING, (self._keys.servers,), (SILENCE,))
        listed.addCallbacks(answered, self._note_failure).addBoth(over)

    def _on_lost(self, error: Exception) -> None:
        self._subscribed = self._reader.active = False
        self._availability.reason = reason_of(error, self._settings)
        self._look()

    def _on_message(self, channel: str, data: bytes) -> None:
        self.stats.messages += 1
        if channel != self._keys.changes:
            self._on_told(data)
            return
        try:
            change = Change.decode(data)
        except RecordError as error:
            self.stats.malformed += 1
            self._log.warn("shared registry: a message cannot be read: {error}", error=str(error))
            for server in _ids([data[:36]]):
                self._view.misunderstood(server)
        else:
            if change.server == self._own:
                self._echo = self._reactor.seconds()
            if not change.is_sign_of_life:
                self._reader.written(change.server)
            self._view.receive(change)
        self._reader.read()

    # -- one's own records

    def announce(self, server: ServerRecord) -> None:
        """See the interface."""
        self._outbox.announce(server)
        self._write_soon()

    def publish(self, record: ConnectorRecord) -> None:
        """See the interface."""
        self._outbox.publish(record)
        self._write_soon()

    def withdraw(self, connector: UUID) -> None:
        """See the interface."""
        self._outbox.withdraw(connector)
        self._write_soon()

    def _write_soon(self) -> None:
        if self._running:
            self._writer.write_soon()

    # -- agreements

    def claim(self, record: ConnectorRecord, decide: Callable[[Iterable[ConnectorRecord]], T]) -> Deferred[T]:
        """See the interface."""
        claimed = Deferred.fromCoroutine(self._claim(record, decide)).addTimeout(CLAIM_TIMEOUT, self._reactor)

        def counted(outcome: Any) -> Any:
            if not isinstance(outcome, Failure):
                self.stats.claims["agreed"] += 1
                return outcome
            if outcome.check(RedisError, RegistryUnavailable, TimedOut) is None:
                self.stats.claims["refused"] += 1
                return outcome
            self.stats.claims["unavailable"] += 1
            if isinstance(outcome.value, RedisError):
                raise RegistryUnavailable(reason_of(outcome.value, self._settings))
            if outcome.check(TimedOut):
                raise RegistryUnavailable("it takes too long to answer")
            return outcome

        return claimed.addBoth(counted)

    async def _claim(self, record: ConnectorRecord, decide: Callable[[Iterable[ConnectorRecord]], T]) -> T:
        for _ in range(MAX_TRIES):
            if not self.available:
                raise RegistryUnavailable(self._availability.reason or "it is not available")
            count = await self._heard_all(record.tunnel)
            await self._reader.whole()
            result = decide(self._view.records(record.tunnel))
            if await self._writer.claim(record, count):
                return result
        raise RegistryUnavailable("too many clients join the tunnel at once")

    async def _heard_all(self, tunnel: UUID) -> bytes:
        """The count of a tunnel, once everything was heard that was published until it was read."""
        token = token_bytes(16)
        heard = self._barriers[token] = Deferred()
        channel, message = self._keys.to(self._own), self._addressed(token)
        key = self._keys.tunnel(tunnel)

        def ask(client: Client) -> bytes:
            with client.pipeline(transaction=True) as commands:
                commands.get(key)
                commands.publish(channel, message)
                count: bytes | None = commands.execute()[0]
            return b"0" if count is None else count

        try:
            count = await self._commands.run(ask)
            await heard
        finally:
            self._barriers.pop(token, None)
        return count

    # -- records of others

    def records(self, tunnel: UUID) -> Collection[ConnectorRecord]:
        """See the interface."""
        return self._view.records(tunnel)

    @property
    def tunnels(self) -> Iterable[UUID]:
        """See the interface."""
        return self._view.tunnels

    @property
    def servers(self) -> Iterable[ServerRecord]:
        """See the interface."""
        return self._view.servers

    def server(self, server: UUID) -> ServerRecord | None:
        """See the interface."""
        return self._view.server(server)

    # -- messages between servers

    def tell(self, server: UUID, message: bytes) -> None:
        """See the interface."""
        channel, data = self._keys.to(server), self._addressed(message)
        self._commands.run(lambda client: client.publish(channel, data)).addErrback(self._note_failure)

    def _addressed(self, message: bytes) -> bytes:
        return str(self._own).encode() + b"\n" + message

    def _on_told(self, data: bytes) -> None:
        header, _, message = data.partition(b"\n")
        for sender in _ids([header]):
            if sender != self._own:
                self._observer.told(sender, message)
            elif message in self._barriers:
                self._barriers.pop(message).callback(None)

    # -- commands

    def _run_script(self, script: str, keys: Iterable[str], arguments: Iterable[Any]) -> Deferred[Any]:
        keys, arguments = list(keys), list(arguments)
        return self._commands.run(lambda client: client.register_script(script)(keys, arguments))

    def _last_word(self) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        keys = (self._keys.server(self._own), self._keys.servers, self._keys.next(self._own))
        message = encode_change(self._own, self._outbox.number) + b"\n" + STOPS
        return keys, (str(self._own), self._keys.changes, message)


def _ids(texts: Iterable[bytes]) -> list[UUID]:
    """Those of some texts that are IDs."""
    found = []
    for text in texts:
        try:
            found.append(UUID(text.decode("ascii")))
        except ValueError:
            continue
    return found
