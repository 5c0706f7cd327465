"""The authenticator: who gets in, when, and at which cost."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth import authenticator
from rtunnel.auth.authenticator import THROTTLED_DELAY, AuthenticationFailed, Authenticator, Grant
from rtunnel.auth.passwords import hash_password
from rtunnel.auth.throttle import MAX_DELAY, MAX_GUESSES, MIN_DELAY, OWN_GUESSES
from rtunnel.auth.users import Users
from rtunnel.outcomes import RefusalReason

ALICE = hash_password("swordfish")
BOB = hash_password("herring")
KEY = b"0123456789abcdef0123456789abcdef"
USERS = Users({"alice": ALICE, "bob": BOB})


class GateTests(SynchronousTestCase):
    """Threads are played by the test: what was asked to run waits in ``work``."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.work: list[tuple[Callable[[], bool], Deferred[bool]]] = []
        self.authenticator = Authenticator(USERS, reactor=self.clock, in_thread=self.in_thread)

    def in_thread(self, function: Callable[[], bool]) -> Deferred[bool]:
        done: Deferred[bool] = Deferred()
        self.work.append((function, done))
        return done

    def run_threads(self) -> int:
        count = 0
        while self.work:
            function, done = self.work.pop(0)
            done.callback(function())
            count += 1
        return count

    def admit(self, name: str, password: str, address: str = "192.0.2.1", key: bytes = b"") -> Deferred[Grant]:
        return self.authenticator.admit((name, password), address, key)

    def refusal(self, deferred: Deferred[Grant]) -> RefusalReason:
        error: AuthenticationFailed = self.failureResultOf(deferred, AuthenticationFailed).value
        self.assertNotIn("swordfish", str(error))
        return error.kind

    def throttled(self, *deferreds: Deferred[Grant]) -> None:
        """They were rejected without a check, and not at once."""
        for deferred in deferreds:
            self.assertNoResult(deferred)
        self.clock.advance(THROTTLED_DELAY)
        for deferred in deferreds:
            self.assertIs(self.refusal(deferred), RefusalReason.THROTTLED)

    def test_right(self) -> None:
        found = self.admit("alice", "swordfish")
        self.assertNoResult(found)
        self.run_threads()
        self.assertEqual(self.successResultOf(found), Grant("alice", ALICE))

    def test_wrong_waits(self) -> None:
        found = self.admit("alice", "herring")
        self.run_threads()
        self.assertNoResult(found)
        self.clock.advance(MIN_DELAY)
        self.assertIs(self.refusal(found), RefusalReason.WRONG_PASSWORD)

    def test_unknown_user_costs_the_same(self) -> None:
        """Also one that gives the password of another user is checked, waits and is refused."""
        for password in ("herring", "swordfish"):
            found = self.admit("carol", password)
            self.assertEqual(self.run_threads(), 1)
            self.assertNoResult(found)
            self.clock.advance(MAX_DELAY)
            self.assertIs(self.refusal(found), RefusalReason.WRONG_PASSWORD)

    def test_right_after_wrong(self) -> None:
        """A right password is let in at once, however many wrong ones there were."""
        for number in range(20):
            self.admit("alice", f"wrong{number}").addErrback(lambda _: None)
        self.run_threads()
        found = self.admit("alice", "swordfish")
        self.run_threads()
        self.successResultOf(found)
        self.authenticator.close()

    def test_nothing_given(self) -> None:
        self.assertIs(self.refusal(self.authenticator.admit(None, "192.0.2.1")), RefusalReason.NO_PASSWORD)
        self.assertIs(self.refusal(self.admit("", "")), RefusalReason.NO_PASSWORD)

    def test_remembered(self) -> None:
        """A client that comes back, from wherever, costs no verification; the password itself is not kept."""
        self.admit("alice", "swordfish")
        self.run_threads()
        self.successResultOf(self.admit("alice", "swordfish", "192.0.2.2"))
        self.assertEqual(self.work, [])
        self.assertNotIn("swordfish", repr(self.authenticator._verified._hashes))

    def test_remembered_only_with_its_hash(self) -> None:
        """A new password counts from when the file is read."""
        self.admit("alice", "swordfish")
        self.run_threads()
        self.authenticator.users = USERS.with_user("alice", BOB)
        found = self.admit("alice", "swordfish")
        self.run_threads()
        self.clock.advance(MIN_DELAY)
        self.assertIs(self.refusal(found), RefusalReason.WRONG_PASSWORD)

    def test_user_removed_meanwhile(self) -> None:
        found = self.admit("alice", "swordfish")
        self.authenticator.users = Users({"bob": BOB})
        self.run_threads()
        self.clock.advance(MIN_DELAY)
        self.assertIs(self.refusal(found), RefusalReason.WRONG_PASSWORD)

    def test_many_clients_with_one_password_cost_one_verification(self) -> None:
        found = [self.admit("alice", "swordfish", f"10.0.{number}.1") for number in range(200)]
        self.assertEqual(self.run_threads(), 1)
        for one in found:
            self.successResultOf(one)

    def test_threads_are_bounded(self) -> None:
        for number in range(10):
            self.admit(f"user{number}", "x", f"192.0.2.{number}").addErrback(lambda _: None)
        self.assertEqual(len(self.work), authenticator.MAX_THREADS)
        self.assertEqual(self.run_threads(), 10)
        self.authenticator.close()

    def test_waiting_is_bounded(self) -> None:
        self.patch(authenticator, "MAX_PENDING", 5)
        found = [self.admit(f"user{number}", "x", f"192.0.2.{number}") for number in range(6)]
        self.throttled(found[5])
        self.assertEqual(self.run_threads(), 5)
        self.clock.advance(MAX_DELAY)
        for one in found[:5]:
            self.assertIs(self.refusal(one), RefusalReason.WRONG_PASSWORD)

    def test_guesses_are_bounded(self) -> None:
        """As many connections as one likes give no more guesses; when their time is over there is room again."""
        found = [self.admit("alice", f"wrong{number}") for number in range(3 * MAX_GUESSES)]
        self.assertEqual(self.run_threads(), MAX_GUESSES)
        self.throttled(*found[MAX_GUESSES:])
        self.clock.advance(MAX_DELAY)
        for one in found[:MAX_GUESSES]:
            self.assertIs(self.refusal(one), RefusalReason.WRONG_PASSWORD)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        found = [self.admit("alice", "swordfish")]
        self.run_threads()
        self.successResultOf(found[0])

    def let_in(self, name: str, password: str, key: bytes = b"") -> None:
        found = self.admit(name, password, key=key)
        self.run_threads()
        self.successResultOf(found)

    def guess(self, name: str, times: int) -> None:
        for number in range(times):
            self.admit(name, f"wrong {name} {number}").addErrback(lambda _: None)

    def test_strangers_at_the_same_address(self) -> None:
        """Guesses at other names from a shared address hold up nobody who was let in there."""
        self.let_in("alice", "swordfish")
        self.guess("bob", MAX_GUESSES)
        for _ in range(60):
            self.let_in("alice", "swordfish")
        self.throttled(self.admit("bob", "herring"))

    def test_known_again(self) -> None:
        """A client with a key is held up by nobody, not even by guesses at its own name from its own address."""
        self.let_in("alice", "swordfish", KEY)
        self.guess("alice", MAX_GUESSES + OWN_GUESSES)
        for _ in range(60):
            self.successResultOf(self.admit("alice", "swordfish", key=KEY))
        self.assertEqual(self.run_threads(), MAX_GUESSES + OWN_GUESSES)

    def test_a_full_room_tells_nothing(self) -> None:
        """Not even a remembered password is looked at, or the room would not bound the guesses; nor with another key."""
        self.let_in("alice", "swordfish", KEY)
        self.guess("alice", MAX_GUESSES + OWN_GUESSES)
        for key in (b"", b"x" * 32, KEY[:-1], KEY + b"0"):
            self.throttled(self.admit("alice", "swordfish", key=key))
        self.throttled(self.admit("alice", "herring", key=KEY))

    def test_short_keys_do_not_count(self) -> None:
        """They could be guessed."""
        self.let_in("alice", "swordfish", b"short")
        self.guess("alice", MAX_GUESSES + OWN_GUESSES)
        self.throttled(self.admit("alice", "swordfish", key=b"short"))

    def test_known_again_only_with_its_hash(self) -> None:
        """A password that was changed and a user that was removed end it at once."""
        self.let_in("alice", "swordfish", KEY)
        for users in (USERS.with_user("alice", BOB), Users({"bob": BOB})):
            self.authenticator.users = users
            found = self.admit("alice", "swordfish", key=KEY)
            self.run_threads()
            self.clock.advance(MAX_DELAY)
            self.assertIs(self.refusal(found), RefusalReason.WRONG_PASSWORD)

    def test_memory_is_bounded(self) -> None:
        self.patch(authenticator, "MAX_REMEMBERED", 1)
        for name, password in (("alice", "swordfish"), ("bob", "herring")):
            self.let_in(name, password, KEY)
        for remembered in (self.authenticator._verified, self.authenticator._clients):
            self.assertEqual(list(remembered._hashes.values()), [BOB])

    def test_verification_breaks(self) -> None:
        """For want of memory, say: that client is refused, the next one is looked at."""
        found = self.admit("alice", "swordfish")
        self.work.pop()[1].errback(MemoryError("no memory"))
        self.assertIs(self.refusal(found), RefusalReason.FAILED)
        found = self.admit("alice", "swordfish")
        self.run_threads()
        self.successResultOf(found)

    def test_close(self) -> None:
        self.admit("alice", "wrong")
        self.run_threads()
        self.authenticator.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
