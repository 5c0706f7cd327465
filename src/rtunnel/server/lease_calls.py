"""What servers ask each other about leases: the server that a client is attached to is the one that ends or renews its lease.

Questions and answers are JSON objects, which the shared registry carries. A question has a number (``q``), says what to do (``do``)
and with which lease; the answer has the same number (``a``), and ``ok`` with the outcome, or ``no`` with the reason. A server that
stops asks another one to keep what it has (``keep``), and all are told of an end that a client may have missed (``ended``); to that
there is no answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any, Final
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.ids import short_id
from rtunnel.registry.interfaces import SharedRegistry
from rtunnel.registry.records import ConnectorRecord
from rtunnel.routing.leases import LeaseEnd
from rtunnel.server.lease_manager import ASK_TIME, LeaseManager, PoolLease
from rtunnel.wire.control import Ended

__all__ = ["CALL_TIMEOUT", "CallFailed", "LeaseCalls"]

CALL_TIMEOUT: Final = 5.0
"""Seconds for an answer."""
MAX_CALLS: Final = 1000
"""Questions of this server without an answer at once."""


class CallFailed(Exception):
    """Another server did not do it; the text says why."""


class LeaseCalls:
    """Asks other servers, and answers them; owned by what the server shares of its leases.

    :param shared: carries the messages.
    :param manager: the leases of this server.
    :param keep: called with the record of a lease that another server had, which stops.
    """

    _log = Logger()

    def __init__(
        self, shared: SharedRegistry, manager: LeaseManager, keep: Callable[[ConnectorRecord], None], reactor: Any
    ) -> None:
        self._shared = shared
        self._keep = keep
        self._manager = manager
        self._reactor = reactor
        self._numbers = count(1)
        self._waiting: dict[int, tuple[UUID, Deferred[Any]]] = {}
        self._asked: dict[tuple[UUID, int], PoolLease] = {}
        """Leases of this server that are asked for by callers of others."""
        self._handlers: dict[str, Callable[[UUID, int, PoolLease, dict[str, Any]], None]] = {
            "end": self._end,
            "renew": self._renew,
            "ask": self._ask,
        }

    # -- questions of this server

    def end(self, server: UUID, lease: str, cause: LeaseEnd, by: str, text: str) -> Deferred[None]:
        """Have a lease ended."""
        return self._call(server, {"do": "end", "lease": lease, "cause": cause.value, "by": by, "text": text})

    def renew(self, server: UUID, lease: str, wanted: float) -> Deferred[float]:
        """Have a lease renewed; fires with the seconds until its end, 0 for none."""
        return self._call(server, {"do": "renew", "lease": lease, "wanted": wanted}).addCallback(float)

    def ask(self, server: UUID, lease: str, by: str, text: str) -> Deferred[LeaseEnd | None]:
        """Ask the holder of a lease to give it up; fires with its end, or None when it is used. Cancel it to forget it."""
        return self._call(server, {"do": "ask", "lease": lease, "by": by, "text": text}, ASK_TIME + CALL_TIMEOUT).addCallback(
            lambda end: None if end is None else LeaseEnd(end)
        )

    def hand_over(self, server: UUID, record: ConnectorRecord) -> None:
        """Have another server keep a lease."""
        self._send(server, {"keep": json.loads(record.encode())})

    def tell_end(self, server: UUID, lease: PoolLease, ended: Ended) -> None:
        """Tell another server that a lease has ended, which its client may not have heard."""
        client = {"tunnel": str(lease.tunnel), "user": lease.user, "instance": lease.instance.hex()}
        self._send(server, {"ended": {**client, "cause": ended.cause, "by": ended.by, "text": ended.text}})

    def _call(self, server: UUID, question: dict[str, Any], seconds: float = CALL_TIMEOUT) -> Deferred[Any]:
        number = next(self._numbers)
        if not self._shared.available or len(self._waiting) >= MAX_CALLS:
            failed: Deferred[Any] = Deferred()
            failed.errback(Failure(CallFailed("the servers cannot reach each other through the shared registry now; try again")))
            return failed

        def forget(outcome: Any) -> Any:
            self._waiting.pop(number, None)
            if isinstance(outcome, Failure):
                self._send(server, {"do": "forget", "q": number})
                if outcome.check(TimedOut):
                    raise CallFailed(f"the server {short_id(server)}, which its client is attached to, does not answer")
            return outcome

        answered: Deferred[Any] = Deferred()
        self._waiting[number] = server, answered
        answered.addTimeout(seconds, self._reactor).addBoth(forget)
        self._send(server, {"q": number, **question})
        return answered

    def _send(self, server: UUID, message: dict[str, Any]) -> None:
        self._shared.tell(server, json.dumps(message, separators=(",", ":")).encode())

    # -- what others say

    def told(self, sender: UUID, data: bytes) -> None:
        """Another server asks, or answers."""
        try:
            message = json.loads(data)
            if "a" in message:
                self._answered(sender, message)
            elif "ended" in message:
                self._note_end(message["ended"])
            elif "keep" in message:
                self._keep(ConnectorRecord.decode(json.dumps(message["keep"]).encode()))
            else:
                self._asked_by(sender, message)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self._log.warn("the server {sender} says something that is not understood", sender=short_id(sender))

    def _note_end(self, end: dict[str, Any]) -> None:
        ended = Ended(str(end["cause"]), str(end["by"]), str(end["text"]))
        self._manager.note_missed(UUID(end["tunnel"]), str(end["user"]), bytes.fromhex(end["instance"]), ended)

    def _answered(self, sender: UUID, answer: dict[str, Any]) -> None:
        server, deferred = self._waiting.get(answer["a"], (None, None))
        if server != sender or deferred is None or deferred.called:
            return
        if "no" in answer:
            deferred.errback(Failure(CallFailed(str(answer["no"]))))
        else:
            deferred.callback(answer["ok"])

    def _asked_by(self, sender: UUID, question: dict[str, Any]) -> None:
        number = int(question["q"])
        if question["do"] == "forget":
            lease = self._asked.pop((sender, number), None)
            if lease is not None:
                self._manager.forget(lease)
            return
        handler = self._handlers.get(question["do"])
        found = next((lease for lease in self._manager.leases if lease.id == question["lease"]), None)
        if handler is None:
            self._send(
                sender, {"a": number, "no": "the server that its client is attached to has another version, which cannot do that"}
            )
        elif found is None:
            self._send(sender, {"a": number, "no": "it has ended meanwhile"})
        else:
            handler(sender, number, found, question)

    def _end(self, sender: UUID, number: int, lease: PoolLease, question: dict[str, Any]) -> None:
        self._manager.end(lease, LeaseEnd(question["cause"]), str(question["by"]), str(question["text"]))
        self._send(sender, {"a": number, "ok": True})

    def _renew(self, sender: UUID, number: int, lease: PoolLease, question: dict[str, Any]) -> None:
        self._send(sender, {"a": number, "ok": self._manager.renew(lease, float(question["wanted"]))})

    def _ask(self, sender: UUID, number: int, lease: PoolLease, question: dict[str, Any]) -> None:
        def answered(end: LeaseEnd | None) -> None:
            self._asked.pop((sender, number), None)
            self._send(sender, {"a": number, "ok": None if end is None else end.value})

        if lease.connector is None:
            self._send(sender, {"a": number, "no": f"the link of {lease.name} is lost meanwhile; take it with --take-over"})
        elif self._manager.ask(lease, str(question["by"]), str(question["text"]), answered):
            self._asked[sender, number] = lease
        else:
            self._send(sender, {"a": number, "no": f"somebody else has asked {lease.name} already; try again in a minute"})
