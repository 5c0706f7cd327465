"""A question to a server that the test plays: what is sent, and what becomes of each answer."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.asking.question import WAIT, AskRefused, Question, lines
from rtunnel.cli.exit_status import CommandError
from rtunnel.settings import Address, Credentials, ServerConnectionSettings
from rtunnel.wire.control import Allowed, Done, Listed, QueryLeases, Refused, encode
from rtunnel.wire.relay import Command, Response, Status, take_request
from tests.client.harness import Peer, PlayedEndpoint, settle

TUNNEL = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")
WELCOME = Response(status=Status.OK, metadata={"rt": "1"}).encode()


class QuestionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = PlayedEndpoint()
        settings = ServerConnectionSettings(
            server=Address("server", 80), tunnel=TUNNEL, credentials=Credentials("ada", "swordfish")
        )
        self.asking = Question(settings, QueryLeases("pod.local"), self.clock, WAIT + 15)
        self.answer: Deferred[Any] = self.asking.answer
        self.endpoint.connect(self.asking)
        self.server: Peer = self.endpoint.accept()
        settle(self.clock, self.endpoint)

    def say(self, data: bytes) -> None:
        self.server.transport.write(data)
        settle(self.clock, self.endpoint)

    def failed(self, words: str) -> None:
        self.assertIn(words, str(self.failureResultOf(self.answer, CommandError).value))
        settle(self.clock, self.endpoint)
        self.assertIsNotNone(self.endpoint.transport.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_answered(self) -> None:
        """The request names tunnel and user; the message follows the response."""
        taken = take_request(self.server.take())
        assert taken is not None and taken[0].tunnel is not None
        self.assertEqual(
            (taken[0].command, taken[0].tunnel.id, taken[0].credentials), (Command.CONTROL, TUNNEL, ("ada", "swordfish"))
        )
        self.say(WELCOME)
        self.assertEqual(self.server.take(), encode(QueryLeases("pod.local")))
        answer = encode(Listed(name="alice")) + encode(Done(count=1))
        for byte in answer:
            self.say(bytes((byte,)))
        self.assertEqual(self.successResultOf(self.answer), ([Listed(name="alice")], Done(count=1)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_at_once(self) -> None:
        """The answer may come with the response."""
        self.say(WELCOME + encode(Done("ok")))
        self.assertEqual(self.successResultOf(self.answer), ([], Done("ok")))

    def test_refused(self) -> None:
        self.say(WELCOME + encode(Refused("no")))
        self.failed("no")

    def test_not_let_in(self) -> None:
        self.say(Response(status=Status.UNAUTHORIZED).encode())
        self.failed("it does not know the user ada with this password")

    def test_old_server(self) -> None:
        self.say(Response(status=Status.BAD_REQUEST).encode())
        self.failed("it does not know leases; update it")

    def test_a_server_that_answers_anything(self) -> None:
        self.say(Response(status=Status.OK).encode())
        self.failed("without saying that it knows leases")

    def test_closed(self) -> None:
        """Gost closes the connection."""
        self.server.transport.loseConnection()
        settle(self.clock, self.endpoint)
        self.failed("the server closed the connection before it answered")

    def test_closed_in_the_middle(self) -> None:
        self.say(WELCOME)
        self.server.transport.loseConnection()
        settle(self.clock, self.endpoint)
        self.failed("the server closed the connection before it answered")

    def test_nonsense(self) -> None:
        self.say(WELCOME + b"hello\n")
        self.failed("malformed: a line is not JSON")

    def test_another_service(self) -> None:
        self.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.failed("the server speaks HTTP here")

    def test_silence(self) -> None:
        self.clock.advance(15)
        self.failed("did not answer within 15 s")

    def test_silence_after_the_response(self) -> None:
        self.say(WELCOME)
        self.clock.advance(WAIT + 14)
        self.assertNoResult(self.answer)
        self.clock.advance(1)
        self.failed("has not answered within 75 s")

    def test_let_in(self) -> None:
        """Whoever is refused something, or is not answered, was let in all the same."""
        self.say(WELCOME + encode(Refused("no")))
        self.failureResultOf(self.answer, AskRefused)

    def test_let_in_by_an_old_server(self) -> None:
        """It does not know the question, and says nothing."""
        self.say(WELCOME)
        self.clock.advance(WAIT + 15)
        self.failureResultOf(self.answer, AskRefused)

    def test_rights(self) -> None:
        self.say(WELCOME + encode(Allowed("ada", "bind,env", "0.1.0")) + encode(Done(count=1)))
        self.assertEqual(self.successResultOf(self.answer)[0], [Allowed("ada", "bind,env", "0.1.0")])

    def test_interrupted(self) -> None:
        self.answer.cancel()
        self.failureResultOf(self.answer, CancelledError)
        settle(self.clock, self.endpoint)
        self.assertIsNotNone(self.endpoint.transport.lost)

    def test_json(self) -> None:
        """One object a line, with all keys."""
        first, last = map(json.loads, lines([Listed(name="a\u202e")], Done("x", 1)))
        self.assertEqual((first["kind"], first["name"], first["used"], len(first)), ("lease", "a\u202e", -1.0, 12))
        self.assertEqual(last, {"kind": "done", "text": "x", "count": 1})
