"""What streams of a pod link say: it reads the same again, and what is none is refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.pod import (
    MAX_NAME_PAIRS,
    MAX_REQUEST,
    RESERVED_HOSTS,
    Cause,
    PodAnswer,
    PodRequest,
    PodService,
    Reach,
    pod_preface,
    user_of,
)
from rtunnel.wire.relay import Command, RelayAddress, Request, Response, Status, take_preface, take_request, take_response
from rtunnel.wire.relay_features import RelayError

POSTGRES = RelayAddress("postgres", 5432)


def answer(data: bytes) -> PodAnswer:
    taken = take_response(data)
    assert taken is not None and taken[1] == len(data)
    return PodAnswer.of(taken[0])


class RequestTests(SynchronousTestCase):
    def read(self, data: bytes) -> PodRequest:
        taken = take_request(data)
        assert taken is not None and taken[1] == len(data)
        return PodRequest.of(taken[0])

    def refused(self, request: Request, words: str) -> None:
        self.assertIn(words, str(self.assertRaises(RelayError, PodRequest.of, request)))

    def test_round_trip(self) -> None:
        for request in (
            PodRequest(PodService.REACH, POSTGRES),
            PodRequest(PodService.REACH, RelayAddress("fd00::7", 1)),
            PodRequest(PodService.REACH, reach=Reach.RULES),
            PodRequest(PodService.REACH, POSTGRES, reach=Reach.DATAGRAMS),
            PodRequest(PodService.ENV),
            PodRequest(PodService.ENV, values=True),
            PodRequest(PodService.FILES, values=True, path="/config/gr\u00fc\u00df.yaml", have="0" * 32),
        ):
            self.assertEqual(self.read(request.encode()), request)

    def test_taken_from_the_beginning(self) -> None:
        data = PodRequest(PodService.REACH, POSTGRES).encode()
        for size in range(len(data)):
            self.assertIsNone(PodRequest.take(data[:size]))
        self.assertEqual(PodRequest.take(data + b"more"), (PodRequest(PodService.REACH, POSTGRES), len(data)))

    def test_remembered(self) -> None:
        """Or too large for that: it reads the same."""
        for path in ("", "x" * 255):
            data = PodRequest(PodService.FILES, path=path, have="y" * 255).encode() + b"more"
            for _ in range(2):
                taken = PodRequest.take(data)
                assert taken is not None
                self.assertEqual((taken[0].path, data[taken[1] :]), (path, b"more"))
        malformed = Request(Command.BIND, addresses=(POSTGRES,)).encode()
        for _ in range(2):
            self.assertRaises(RelayError, PodRequest.take, malformed)

    def test_too_long(self) -> None:
        announced = b"\x01\x01\xff\xff"
        self.assertIsNone(PodRequest.take(announced.ljust(MAX_REQUEST, b"\xff")))
        error = self.assertRaises(RelayError, PodRequest.take, announced.ljust(MAX_REQUEST + 1, b"\xff"))
        self.assertEqual(error.reason, "the request is too long")

    def test_shown(self) -> None:
        shown = [str(PodRequest(PodService.REACH, RelayAddress(host, 80))) for host in ("a", "::1")]
        self.assertEqual(shown, ["a:80", "[::1]:80"])
        self.assertEqual(str(PodRequest(PodService.REACH, POSTGRES, reach=Reach.DATAGRAMS)), "postgres:5432/udp")
        self.assertEqual([str(PodRequest(PodService.ENV, values=values)) for values in (False, True)], ["names", "values"])
        self.assertEqual(str(PodRequest(PodService.FILES, path="/a\x1b")), "names of /a\\x1b")
        self.assertEqual(str(PodRequest(PodService.FILES, values=True)), "contents of all")

    def test_names_that_cannot_be_sent(self) -> None:
        for host in ("a b", "a\n", "x" * 256):
            self.assertRaises(ValueError, PodRequest(PodService.REACH, RelayAddress(host, 80)).encode)
        self.assertRaises(ValueError, PodRequest(PodService.FILES, path="x" * 256).encode)

    def test_refused(self) -> None:
        metadata = {"rt": "1"}
        reach, control = RelayAddress("reach.rtunnel", 0), RelayAddress("control.rtunnel", 0)
        self.refused(Request(Command.BIND, addresses=(reach, POSTGRES), metadata=metadata), "not a request to a pod")
        self.refused(Request(Command.CONNECT, addresses=(POSTGRES,), metadata=metadata), "not a request to a pod")
        self.refused(Request(Command.CONNECT, addresses=(reach, POSTGRES)), "not a request to a pod")
        self.refused(Request(Command.CONNECT, addresses=(control, POSTGRES), metadata=metadata), "an unknown service")
        for destination in (RelayAddress("", 80), RelayAddress("a", 0)):
            for more in (metadata, {"rt": "2", "rt.reach": "datagrams"}):
                self.refused(Request(Command.CONNECT, addresses=(reach, destination), metadata=more), "no host or port")
        for metadata in ({"rt": "2"}, {"rt": "2", "rt.reach": "connection"}, {"rt": "2", "rt.reach": "new"}, {"rt": "3"}):
            self.refused(Request(Command.CONNECT, addresses=(reach, POSTGRES), metadata=metadata), "not a request to a pod")
        env, metadata = RelayAddress("env.rtunnel", 0), {"rt": "2", "rt.reach": "rules"}
        self.refused(Request(Command.CONNECT, addresses=(env, POSTGRES), metadata=metadata), "not a request to a pod")

    def test_older_versions(self) -> None:
        """They refuse what they would take for something else; what that means is said."""
        taken = take_request(PodRequest(PodService.REACH, reach=Reach.RULES).encode())
        assert taken is not None
        self.assertNotEqual(taken[0].metadata["rt"], "1")
        refusal = PodAnswer(Cause.FAILED, "not a request to a pod")
        self.assertIn("is older", PodRequest(PodService.REACH, reach=Reach.RULES).meant(refusal).why)
        for answer in (PodAnswer(), PodAnswer(Cause.NO_POD, "none")):
            self.assertEqual(PodRequest(PodService.REACH, reach=Reach.RULES).meant(answer), answer)
        self.assertEqual(PodRequest(PodService.REACH, POSTGRES).meant(refusal), refusal)

    def test_the_server_is_known_by_its_token(self) -> None:
        taken = take_preface(pod_preface("0badc0de" * 4, PodService.REACH, "alice"))
        assert taken is not None
        preface = taken[0]
        self.assertEqual(preface.addresses, (RelayAddress("0badc0de" * 4, 0), RelayAddress("reach.rtunnel", 0)))
        self.assertEqual(user_of(preface), "alice")
        self.assertIn(preface.addresses[1].host, RESERVED_HOSTS)

    def test_no_user(self) -> None:
        taken = take_preface(pod_preface("0" * 32, PodService.ENV, ""))
        assert taken is not None
        self.assertEqual(user_of(taken[0]), "")

    def test_hostile_user(self) -> None:
        """It is printable, whoever made it up."""
        self.assertEqual(user_of(Response(Status.OK, metadata={"rt.user": "\x1b[2J"})), "\\x1b[2J")


class AnswerTests(SynchronousTestCase):
    def test_every_cause(self) -> None:
        for cause in Cause:
            refused = PodAnswer(cause, "why")
            self.assertEqual(answer(refused.encode()), refused)

    def test_taken_from_the_beginning(self) -> None:
        """Byte by byte, short and long."""
        for one in (PodAnswer(), PodAnswer(Cause.NO_NAME, "why"), PodAnswer(names=tuple(f"{n:0200}" for n in range(9)))):
            data = one.encode()
            for size in range(len(data)):
                self.assertIsNone(PodAnswer.take(data[:size]))
            for _ in range(2):
                self.assertEqual(PodAnswer.take(data + b"more"), (one, len(data)))

    def test_ok(self) -> None:
        self.assertEqual(answer(PodAnswer().encode()), PodAnswer())

    def test_of_others(self) -> None:
        """A status without a cause has failed; so has one whose cause is not known yet."""
        self.assertEqual(PodAnswer.of(Response(Status.FORBIDDEN)), PodAnswer(Cause.FAILED, "forbidden"))
        newer = Response(Status.FORBIDDEN, metadata={"rt.cause": "too late", "rt.why": "\x1b[2J"})
        self.assertEqual(PodAnswer.of(newer), PodAnswer(Cause.FAILED, "\\x1b[2J"))

    def test_long_reasons_are_cut(self) -> None:
        self.assertEqual(answer(PodAnswer(Cause.FAILED, "é" * 300).encode()).why, "é" * 127)

    def test_names(self) -> None:
        names = tuple(f"NAME_{number}" for number in range(100))
        self.assertEqual(answer(PodAnswer(names=names).encode()).names, names)

    def test_names_that_do_not_fit(self) -> None:
        """How many are missing is said."""
        found = answer(PodAnswer(names=tuple(f"{number:0200}" for number in range(100))).encode()).names
        self.assertEqual((len(found), found[-1]), (MAX_NAME_PAIRS + 1, f"and {100 - MAX_NAME_PAIRS} more"))

    @given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=","), min_size=1, max_size=300)))
    def test_any_names(self, names: list[str]) -> None:
        """Whatever an environment has: the answer can be sent."""
        answer(PodAnswer(names=tuple(names)).encode())
