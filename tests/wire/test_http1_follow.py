"""Following exchanges whose bytes others pass on: however they are cut, and whatever they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.http1 import PASS_ALL, HeadLimits, RequestReader, ResponseReader
from rtunnel.wire.http1_follow import ANSWERED, BEGUN, COMPLETE, LOST, MAX_AHEAD, SWITCHED, ExchangeFollower, Followed

LIMITS = HeadLimits(65536, 16384, 128)
GET = b"GET /%d HTTP/1.1\r\nHost: pod.local\r\n\r\n"
POST = b"POST /%d HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 5\r\n\r\nhello"
CHUNKS = b"PUT /%d HTTP/1.1\r\nHost: pod.local\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
CHUNKED = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK


def short(events: list[Followed]) -> list[str]:
    """Events in a few letters."""
    texts = {
        BEGUN: lambda head: f"{head.method.decode()} {head.target.decode()}",
        ANSWERED: lambda head: str(head.status),
        COMPLETE: lambda head: "complete",
        SWITCHED: lambda head: f"switched {head.status}",
        LOST: lambda head: "lost",
    }
    return [texts[kind](head) for kind, head in events]


class FollowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.follower = ExchangeFollower(RequestReader(LIMITS, PASS_ALL), ResponseReader(LIMITS))

    def asked(self, data: bytes) -> list[str]:
        return short(self.follower.request_bytes(data))

    def answered(self, data: bytes) -> list[str]:
        return short(self.follower.answer_bytes(data))

    @given(
        st.lists(st.tuples(st.sampled_from((GET, POST, CHUNKS)), st.sampled_from((OK, EMPTY, CHUNKED, EARLY))), max_size=4),
        st.integers(1, 200),
    )
    def test_one_after_another(self, exchanges: list[tuple[bytes, bytes]], size: int) -> None:
        self.setUp()
        for number, (request, answer) in enumerate(exchanges):
            data = request % number
            asked = [one for start in range(0, len(data), size) for one in self.asked(data[start : start + size])]
            self.assertEqual(asked, [f"{data.split()[0].decode()} /{number}"])
            heard = [one for start in range(0, len(answer), size) for one in self.answered(answer[start : start + size])]
            final = answer.rpartition(b"HTTP/1.1 ")[2][:3].decode()
            self.assertEqual(heard, [final, "complete"])
        self.assertEqual(short(self.follower.ended()), [])

    @given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=20))
    def test_anything(self, pieces: list[tuple[bool, bytes]]) -> None:
        """Nothing that comes makes it fail; once it is lost it says nothing any more."""
        self.setUp()
        lost = False
        for ours, data in pieces:
            events = self.asked(data) if ours else self.answered(data)
            self.assertFalse(lost and events)
            lost = lost or "lost" in events

    def test_until_the_end(self) -> None:
        """A response whose length is not known before."""
        self.asked(GET % 1)
        self.assertEqual(self.answered(b"HTTP/1.0 200 OK\r\n\r\nsome"), ["200"])
        self.assertEqual(self.answered(b" more"), [])
        self.assertEqual(short(self.follower.ended()), ["complete"])

    def test_ends_halfway(self) -> None:
        self.asked(GET % 1)
        self.answered(OK[:-1])
        self.assertEqual(short(self.follower.ended()), [])

    def test_upgrade(self) -> None:
        """Whatever is said afterwards is something else."""
        self.asked(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        self.assertEqual(self.answered(head + b"\x81\x00"), ["switched 101"])
        self.assertEqual((self.answered(b"\x81\x00"), self.asked(b"\x81\x00"), short(self.follower.ended())), ([], [], []))

    def test_pipelined(self) -> None:
        """The next request is read when its turn has come."""
        self.assertEqual(self.asked(GET % 1 + GET % 2), ["GET /1"])
        self.assertEqual(self.answered(OK), ["200", "complete", "GET /2"])
        self.assertEqual(self.answered(OK), ["200", "complete"])

    def test_answers_in_one_piece(self) -> None:
        """Two at once cannot be told apart from one and something that belongs to nobody."""
        self.asked(GET % 1 + GET % 2)
        self.assertEqual(self.answered(OK + OK), ["200", "complete", "lost"])

    def test_too_far_ahead(self) -> None:
        self.assertEqual(self.asked(GET % 1), ["GET /1"])
        self.assertEqual(self.asked(b"x" * (MAX_AHEAD + 1)), ["lost"])

    def test_not_asked(self) -> None:
        self.assertEqual(self.answered(OK), ["lost"])

    def test_answer_before_the_body(self) -> None:
        """A target that refuses an upload: what comes next is not known."""
        self.asked(POST[:-2] % 1)
        self.assertEqual(self.answered(OK), ["200", "complete", "lost"])

    def test_malformed(self) -> None:
        self.assertEqual(self.asked(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), ["lost"])
        self.setUp()
        self.asked(GET % 1)
        self.assertEqual(self.answered(b"nonsense\r\n\r\n"), ["lost"])
