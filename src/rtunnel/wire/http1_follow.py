"""Follows the exchanges of a connection whose bytes others pass on: it reads what both sides say, and changes nothing.

Whoever passes the bytes on gives them here as well. What cannot be followed (several requests ahead of their responses, bytes that
are no HTTP) ends the following, and nothing else.
"""

from __future__ import annotations

from typing import Any, Final

from rtunnel.wire.http1_exchange import END, HEAD, INTERIM, MALFORMED, UPGRADE, WHOLE, AnswerSide, Event, RequestSide
from rtunnel.wire.http1_reader import RequestReader, ResponseReader

__all__ = ["ANSWERED", "BEGUN", "COMPLETE", "LOST", "SWITCHED", "ExchangeFollower", "Followed"]

BEGUN: Final = 0
ANSWERED: Final = 1
COMPLETE: Final = 2
SWITCHED: Final = 3
LOST: Final = 4

Followed = tuple[int, Any]
"""What happened, and a head or None: :data:`BEGUN` a request, :data:`ANSWERED` by the head of a response, :data:`COMPLETE`, all of
it was passed on, :data:`SWITCHED` to another protocol by a 101, :data:`LOST`, the following has ended."""

MAX_AHEAD: Final = 65536
"""Bytes of further requests, or of half a head, that are kept until they can be read."""


class ExchangeFollower:
    """The exchanges of one connection.

    :param requests: reads the heads of requests.
    :param answers: reads the heads of responses.
    """

    __slots__ = ("_answers", "_asked", "_following", "_requests")

    def __init__(self, requests: RequestReader, answers: ResponseReader) -> None:
        self._requests = RequestSide(requests)
        self._answers = AnswerSide(answers)
        self._asked = False
        self._following = True

    def request_bytes(self, data: bytes) -> list[Followed]:
        """The visitor's side has sent bytes."""
        return self._read(self._requests.receive(data)) if self._following else []

    def answer_bytes(self, data: bytes) -> list[Followed]:
        """The target's side has sent bytes."""
        found: list[Followed] = []
        if not self._following:
            return found
        if not self._asked:
            return self._lose()
        for kind, head, _ in self._answers.receive(data):
            if kind in (WHOLE, HEAD):
                found.append((ANSWERED, head))
            elif kind == UPGRADE:
                self._following = False
                found.append((SWITCHED, head))
            elif kind == MALFORMED:
                found += self._lose()
            if kind in (WHOLE, END):
                found += self._complete()
            if kind != INTERIM and not self._following:
                break
        return found

    def ended(self) -> list[Followed]:
        """The target's side has ended, which completes a response whose length is not known before."""
        return [(COMPLETE, None)] if self._following and self._asked and self._answers.ended() else []

    def _complete(self) -> list[Followed]:
        self._asked = False
        found: list[Followed] = [(COMPLETE, None)]
        if not self._requests.whole or self._answers.surplus:
            return found + self._lose()
        return found + self._read(self._requests.next())

    def _read(self, events: list[Event]) -> list[Followed]:
        found: list[Followed] = []
        for kind, head, _ in events:
            if kind == HEAD:
                self._asked = True
                self._answers.expect(head)
                found.append((BEGUN, head))
            elif kind == MALFORMED:
                return found + self._lose()
        if len(self._requests.buffered) > MAX_AHEAD:
            return found + self._lose()
        return found

    def _lose(self) -> list[Followed]:
        self._following = False
        return [(LOST, None)]
