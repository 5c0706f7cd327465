"""Slowing down password guessing."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth import throttle
from rtunnel.auth.throttle import FORGET_AFTER, MAX_DELAY, MAX_GUESSES, MIN_DELAY, OWN_GUESSES, GuessThrottle, LoginAttempt


class ThrottleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = GuessThrottle(self.clock.seconds)
        self.number = 0

    def enter(self, address: str = "192.0.2.1", name: str = "alice", digest: bytes = b"") -> LoginAttempt | None:
        self.number += 1
        return self.throttle.begin(address, name, digest or b"%d" % self.number)

    def entered(self, address: str = "192.0.2.1", name: str = "alice", digest: bytes = b"") -> LoginAttempt:
        guess = self.enter(address, name, digest)
        assert guess is not None
        return guess

    def guess_wrong(self, address: str = "192.0.2.1", name: str = "alice") -> float:
        guess = self.entered(address, name)
        wait = guess.fail()
        guess.release()
        return wait

    def test_growing(self) -> None:
        waits = [self.guess_wrong() for _ in range(100)]
        self.assertEqual(waits[:3], [MIN_DELAY, 2 * MIN_DELAY, 4 * MIN_DELAY])
        self.assertEqual(waits[-1], MAX_DELAY)

    def test_per_address(self) -> None:
        """Trying many names from one address is slowed down."""
        waits = [self.guess_wrong(name=f"user{number}") for number in range(10)]
        self.assertEqual(waits[-1], MAX_DELAY)
        self.assertEqual(self.guess_wrong("192.0.2.2", "somebody"), MIN_DELAY)

    def test_per_name(self) -> None:
        """Trying one name from many addresses is slowed down."""
        waits = [self.guess_wrong(f"192.0.2.{number}") for number in range(10)]
        self.assertEqual(waits[-1], MAX_DELAY)

    def test_halves_of_ipv6(self) -> None:
        """A host with one IPv6 address has as many as it likes."""
        waits = [self.guess_wrong(f"2001:db8::{number:x}", f"user{number}") for number in range(10)]
        self.assertEqual(waits[-1], MAX_DELAY)
        self.assertEqual(self.guess_wrong("2001:db8:0:1::1", "somebody"), MIN_DELAY)

    def test_forgotten(self) -> None:
        for _ in range(10):
            self.guess_wrong()
        self.clock.advance(FORGET_AFTER + 1)
        self.assertEqual(self.guess_wrong(), MIN_DELAY)

    def test_room_of_an_address(self) -> None:
        guesses = [self.entered(name=f"user{number}") for number in range(MAX_GUESSES)]
        self.assertIsNone(self.enter(name="somebody"))
        self.assertIsNotNone(self.enter("192.0.2.2", "somebody"))
        guesses[0].fail()
        self.assertIsNone(self.enter(name="somebody"))
        guesses[0].release()
        self.assertIsNotNone(self.enter(name="somebody"))

    def test_room_of_a_name(self) -> None:
        for number in range(MAX_GUESSES):
            self.entered(f"192.0.2.{number}")
        self.assertIsNone(self.enter("198.51.100.1"))
        self.assertIsNotNone(self.enter("198.51.100.1", "bob"))

    def test_strangers_do_not_keep_a_user_out(self) -> None:
        """Who was let in from an address before does not wait for strangers that guess at the name."""
        self.entered("198.51.100.1").succeed()
        for number in range(MAX_GUESSES):
            self.entered(f"192.0.2.{number}")
        self.assertIsNotNone(self.enter("198.51.100.1"))
        self.assertIsNone(self.enter("198.51.100.2"))

    def test_own_slots(self) -> None:
        """Those of a known user are few, and bound guesses like all others."""
        self.entered().succeed()
        for number in range(MAX_GUESSES):
            self.entered(name=f"user{number}")
        own = [self.entered() for _ in range(OWN_GUESSES)]
        self.assertIsNone(self.enter())
        self.assertEqual([guess.fail() for guess in own], [MIN_DELAY * 2**number for number in range(OWN_GUESSES)])
        own[0].release()
        self.assertIsNotNone(self.enter())

    def test_spellings(self) -> None:
        """An address has several; they share its slots."""
        for first, second in (("192.0.2.9", "::FFFF:c000:0209"), ("2001:db8::9", "2001:0DB8:0::9")):
            self.assertEqual([self.guess_wrong(one, f"user of {one}") for one in (first, second)], [MIN_DELAY, 2 * MIN_DELAY])

    def test_the_same_guess_takes_one_place(self) -> None:
        many = [self.entered(digest=b"the password") for _ in range(10 * MAX_GUESSES)]
        self.assertIsNotNone(self.enter())
        for guess in many:
            guess.succeed()
        self.assertEqual(sum(self.enter() is not None for _ in range(2 * MAX_GUESSES)), MAX_GUESSES - 1 + OWN_GUESSES)

    def test_memory_is_bounded(self) -> None:
        self.patch(throttle, "MAX_RECORDS", 10)
        kept = self.entered("192.0.2.200", "kept")
        for number in range(100):
            self.guess_wrong(f"192.0.2.{number}", f"user{number}")
            self.entered(f"198.51.100.{number}", f"right{number}").succeed()
        self.assertEqual((len(self.throttle._addresses), len(self.throttle._names), len(self.throttle._known)), (10, 10, 10))
        # a guess whose record was forgotten meanwhile ends like any other
        kept.fail()
        kept.release()
