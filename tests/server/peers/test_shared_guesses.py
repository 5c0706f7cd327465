"""Wrong passwords at several servers count as if they were tried at one."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth.access_control import AccessControl, Rights
from rtunnel.auth.authenticator import AuthenticationFailed, Grant, WrongPassword
from rtunnel.auth.throttle import MAX_DELAY, MAX_GUESSES, MIN_DELAY
from rtunnel.outcomes import RefusalReason
from rtunnel.registry.memory import MemoryHub
from rtunnel.server.shared_guesses import SharedGuesses
from rtunnel.settings import Address, Credentials, ListenerSettings
from tests.registry.support import Heard, server

GUESSER = "192.0.2.7"


class Here(Heard):
    """One server; passwords are verified at once."""

    def __init__(self, hub: MemoryHub, number: int, clock: Clock) -> None:
        super().__init__()
        self.registry = hub.registry()
        self.registry.start(server(number), self)
        self.guesses = SharedGuesses(self.registry, lambda: [self.control])
        settings = ListenerSettings(
            listen=Address("", 8421), entrypoints=(Address("", 80),), direct=True, credentials=Credentials("alice", "swordfish")
        )
        self.control = AccessControl(settings, Rights(None, None), clock, in_thread=at_once, on_wrong=self.guesses.wrong)

    def told(self, sender: UUID, message: bytes) -> None:
        if not self.guesses.told(sender, message):
            super().told(sender, message)

    def admit(self, name: str, password: str, address: str = GUESSER) -> Deferred[Grant]:
        return self.control.admit((name, password), address)


def at_once(function: Callable[[], bool]) -> Deferred[bool]:
    done: Deferred[bool] = Deferred()
    done.callback(function())
    return done


class GuessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        hub = MemoryHub()
        self.a, self.b = Here(hub, 1, self.clock), Here(hub, 2, self.clock)
        self.addCleanup(self.a.control.stop)
        self.addCleanup(self.b.control.stop)

    def refusal(self, refused: Deferred[Grant]) -> RefusalReason:
        error: AuthenticationFailed = self.failureResultOf(refused, AuthenticationFailed).value
        return error.kind

    def test_delays_grow_at_both(self) -> None:
        for here in (self.a, self.b, self.a):
            refused = here.admit("alice", "herring")
            self.clock.advance(MAX_DELAY)
            self.assertIs(self.refusal(refused), RefusalReason.WRONG_PASSWORD)
        last = self.b.admit("alice", "cod")
        self.clock.advance(MIN_DELAY * 4)
        self.assertNoResult(last)
        self.clock.advance(MIN_DELAY * 4)
        self.assertIs(self.refusal(last), RefusalReason.WRONG_PASSWORD)

    def test_guesses_at_one_take_the_slots_of_both(self) -> None:
        guesses = [self.a.admit("alice", f"guess {number}") for number in range(MAX_GUESSES)]
        one_more = self.b.admit("alice", "one more")
        self.clock.advance(MAX_DELAY)
        self.assertEqual({self.refusal(guess) for guess in guesses}, {RefusalReason.WRONG_PASSWORD})
        self.assertIs(self.refusal(one_more), RefusalReason.THROTTLED)
        self.clock.advance(MAX_DELAY)
        self.assertEqual(self.successResultOf(self.b.admit("alice", "swordfish")).user, "alice")

    def test_the_same_password_takes_one_slot(self) -> None:
        """As of many clients with an old password; others are not held up."""
        for _ in range(2 * MAX_GUESSES):
            self.a.admit("alice", "old one")
        self.assertEqual(self.successResultOf(self.b.admit("alice", "swordfish", "192.0.2.8")).user, "alice")

    def test_names_of_all_kinds(self) -> None:
        """What somebody types as a name tells nothing else to others."""
        told: list[WrongPassword] = []
        self.patch(self.b.control, "wrong_elsewhere", told.append)
        for name in ("alice", "", "wrong 1", "ü \n {}"):
            self.a.admit(name, "herring", "2001:db8::7")
        self.assertEqual(
            [(wrong.address, wrong.name) for wrong in told], [("2001:db8::7", name) for name in ("alice", "", "wrong 1", "ü \n {}")]
        )
        self.assertEqual(len({wrong.digest for wrong in told}), 4)
        self.assertEqual(self.b.take()[1:], [])

    def test_other_messages(self) -> None:
        self.a.registry.tell(server(2).id, b'{"q":1}')
        self.assertEqual(self.b.take()[-1], ("told", (server(1).id, b'{"q":1}')))

    def test_the_registry_is_gone(self) -> None:
        """Each server counts by itself."""
        self.a.registry.cut(False)
        for number in range(MAX_GUESSES):
            self.a.admit("alice", f"guess {number}")
        self.assertEqual(self.successResultOf(self.b.admit("alice", "swordfish")).user, "alice")
