"""Writes the records of a server into Redis, one change after the other, and what was decided if it still holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from rtunnel.metrics.stats import RegistryStats
from rtunnel.registry import scripts
from rtunnel.registry.messages import ANEW, encode_change
from rtunnel.registry.outbox import Batch, Outbox
from rtunnel.registry.records import ConnectorRecord
from rtunnel.registry.redis_client import Client
from rtunnel.registry.redis_threads import CommandThread
from rtunnel.registry.scripts import FIELD_SERVER, Keys

__all__ = ["RedisWriter"]


@attrs.define(eq=False)
class _Claim:
    """Something that was decided and is to be written if nothing else was agreed on meanwhile.

    :ivar count: of the tunnel, when it was decided.
    :ivar written: fires with whether it was written.
    """

    record: ConnectorRecord
    count: bytes
    written: Deferred[bool] = attrs.field(factory=Deferred)
    _abandoned: bool = attrs.field(default=False, init=False)

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        self._abandoned = True

    def is_abandoned(self) -> bool:
        """Whether nobody does."""
        return self._abandoned


class RedisWriter:
    """Writes what an outbox has; owned by the registry.

    :param outbox: the records.
    :param may_write: whether Redis answers.
    :param on_failed: called with the error when it does not.
    """

    def __init__(
        self,
        outbox: Outbox,
        commands: CommandThread,
        keys: Keys,
        stats: RegistryStats,
        *,
        may_write: Callable[[], bool],
        on_failed: Callable[[Exception], None],
        reactor: Any,
    ) -> None:
        self._outbox = outbox
        self._own = outbox.server.id
        self._commands = commands
        self._keys = keys
        self._stats = stats
        self._may_write = may_write
        self._on_failed = on_failed
        self._reactor = reactor
        self._claims: deque[_Claim] = deque()
        self._writing = False
        self._soon: Any = None

    def stop(self) -> None:
        """Begin to write nothing more."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    def write_soon(self) -> None:
        """Write at the end of the turn, with all that it changes."""
        if self._soon is None and not self._writing:
            self._soon = self._reactor.callLater(0, self._now)

    def _now(self) -> None:
        self._soon = None
        self.write()

    def write(self) -> None:
        """Write what there is to write, unless that is being done."""
        if self._writing or not self._may_write():
            return
        self._writing = True

        def over(_: object) -> None:
            self._writing = False

        Deferred.fromCoroutine(self._write_all()).addErrback(self._failed).addBoth(over)

    def _failed(self, failure: Failure) -> None:
        assert isinstance(failure.value, Exception)
        self._on_failed(failure.value)

    def lost(self, number: int) -> None:
        """Redis does not have what was written until a change: write all anew, unless more was written since."""
        if number == self._outbox.number and not self._writing:
            self._outbox.anew = True

    async def _write_all(self) -> None:
        while self._may_write():
            if self._outbox.anew:
                await self._write_anew()
            elif self._claims:
                await self._write_claim(self._claims.popleft())
            elif self._outbox.pending:
                await self._write_batch()
            else:
                return

    async def _write_batch(self, claim: _Claim | None = None) -> int:
        batch = self._outbox.take(None if claim is None else claim.record)
        keys, arguments = self._as_arguments(batch, claim)
        try:
            answer: int = await self._commands.run(lambda client: client.register_script(scripts.WRITE)(keys, arguments))
        except BaseException:
            self._outbox.failed()
            raise
        if answer == scripts.WRITTEN:
            self._stats.written += 1
            self._outbox.written()
        else:
            self._outbox.failed()
            self._outbox.anew = self._outbox.anew or answer == scripts.LOST
        return answer

    def _as_arguments(self, batch: Batch, claim: _Claim | None) -> tuple[list[str], tuple[Any, ...]]:
        # the tunnel of the claim is the first one
        tunnels = sorted(batch.contested, key=lambda tunnel: claim is None or tunnel != claim.record.tunnel)
        keys = [self._keys.server(self._own), self._keys.servers, *map(self._keys.tunnel, tunnels)]
        fields: list[bytes] = [FIELD_SERVER, batch.server_record] if batch.server_record else []
        for connector, record in batch.written.items():
            fields += (str(connector).encode(), record)
        return keys, (
            str(self._own),
            batch.before,
            scripts.SERVER_TTL,
            scripts.AGREEMENT_TTL,
            self._keys.changes,
            batch.message(self._own),
            b"" if claim is None else claim.count,
            len(batch.gone),
            *map(str, batch.gone),
            *fields,
        )

    async def _write_anew(self) -> None:
        """Redis has nothing of this server, or something else: write all beside it, then in its place."""
        server, key = self._outbox.server, self._keys.next(self._own)
        await self._commands.run(lambda client: client.unlink(key))
        for page in self._outbox.pages():
            fields = {str(connector): record for connector, record in page.items()}
            await self._commands.run(partial(_add, key=key, fields=fields))
        number = self._outbox.number + 1
        message = encode_change(self._own, number) + b"\n" + ANEW
        keys = [self._keys.server(self._own), self._keys.servers, key]
        arguments = (str(self._own), number, scripts.SERVER_TTL, self._keys.changes, message, server.encode())
        await self._commands.run(lambda client: client.register_script(scripts.RENAME)(keys, arguments))
        self._stats.rewritten += 1
        self._outbox.rewritten()

    # -- claims

    async def claim(self, record: ConnectorRecord, count: bytes) -> bool:
        """Write a record, unless something else was agreed on for its tunnel; returns whether it was written.

        :param count: of the tunnel, when it was decided.
        """
        claim = _Claim(record, count)
        self._claims.append(claim)
        self.write()
        try:
            return await claim.written
        except BaseException:
            claim.abandon()
            raise

    async def _write_claim(self, claim: _Claim) -> None:
        if claim.is_abandoned():
            return
        try:
            answer = await self._write_batch(claim)
        except Exception as error:
            if not claim.is_abandoned():
                claim.written.errback(Failure(error))
            raise
        if claim.is_abandoned():
            self._outbox.withdraw(claim.record.id)
        else:
            claim.written.callback(answer == scripts.WRITTEN)


def _add(client: Client, key: str, fields: dict[str, bytes]) -> None:
    with client.pipeline(transaction=True) as commands:
        commands.hset(key, mapping=fields)  # type: ignore[arg-type]
        commands.expire(key, scripts.SERVER_TTL)
        commands.execute()
