"""The authenticator: tells who a client is by its name and password."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredSemaphore, fail, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from rtunnel.auth.passwords import PasswordHash
from rtunnel.auth.throttle import GuessThrottle, LoginAttempt
from rtunnel.auth.users import Users
from rtunnel.outcomes import RefusalReason

__all__ = ["ANYBODY", "AuthenticationFailed", "Authenticator", "Grant", "InThread"]

THREADS: Final = 2
"""Passwords that are verified at once, each in a thread of the reactor's pool."""
MAX_WAITING: Final = 256
"""Passwords that wait to be verified, those under way among them."""
MAX_REMEMBERED: Final = 10_000
"""Verified passwords that are remembered."""


InThread = Callable[[Callable[[], bool]], Deferred[bool]]
"""Runs a function in a thread."""


@frozen
class Grant:
    """Who was let in, and by which password; ``ANYBODY`` where nobody is asked.

    :ivar user: the name, ``""`` where nobody is asked.
    :ivar hash: of the password that it gave.
    """

    user: str
    hash: PasswordHash | None


ANYBODY: Final = Grant("", None)


class AuthenticationFailed(Exception):
    """A client was not let in.

    :param kind: why, for the metrics.
    :param reason: why, for the log.
    """

    def __init__(self, kind: RefusalReason, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Authenticator:
    """Verifies passwords in threads, a bounded number at once; owned by the access_control of a listener.

    A verified password is remembered, so that a client that comes back, and many clients of one user, cost nothing. What is kept
    is no password but its digest under a key that was drawn for this process; a digest counts only as long as the hash in the
    users file is the one that it was verified against.

    :param users: who may enter; may be replaced at any time.
    :param reactor: the clock, and the pool of threads.
    :param in_thread: runs a function in a thread; for tests.
    """

    def __init__(self, users: Users, *, reactor: Any, in_thread: InThread | None = None) -> None:
        self.users = users
        self._reactor = reactor
        self._throttle = GuessThrottle(reactor.seconds)
        self._in_thread = in_thread or self._thread
        self._turns = DeferredSemaphore(THREADS)
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, PasswordHash] = OrderedDict()
        self._under_way: dict[bytes, list[Deferred[bool]]] = {}
        self._late: dict[Deferred[Grant], Any] = {}

    def admit(self, credentials: tuple[str, str] | None, address: str) -> Deferred[Grant]:
        """Fire with who it is, when that is known; fails with :class:`AuthenticationFailed`, a wrong password after a while."""
        if credentials is None or credentials == ("", ""):
            return fail(AuthenticationFailed(RefusalReason.NO_PASSWORD, "it gave no user and password"))
        name, password = credentials
        digest = self._digest(name, password)
        guess = self._throttle.enter(address, name, digest)
        if guess is None:
            return fail(
                AuthenticationFailed(
                    RefusalReason.THROTTLED, "too many wrong passwords are under way from its address or for its user"
                )
            )
        hashed = self.users.get(name)
        if hashed is not None and self._verified.get(digest) == hashed:
            self._verified.move_to_end(digest)
            guess.right()
            return succeed(Grant(name, hashed))
        if digest not in self._under_way and len(self._under_way) >= MAX_WAITING:
            guess.over()
            return fail(AuthenticationFailed(RefusalReason.THROTTLED, "too many passwords wait to be verified"))
        known, hashed = hashed is not None, hashed or self._decoy(name)
        done = self._verify(digest, hashed, password)
        return done.addCallbacks(
            self._verdict, self._failed, callbackArgs=(guess, Grant(name, hashed), digest, known), errbackArgs=(guess,)
        )

    def close(self) -> None:
        """No answer comes after this."""
        for call in self._late.values():
            call.cancel()
        self._late.clear()

    # -- verifying

    def _verify(self, digest: bytes, hashed: PasswordHash, password: str) -> Deferred[bool]:
        """Whether a password matches; the same one is verified once, however many wait for it."""
        answer: Deferred[bool] = Deferred()
        waiting = self._under_way.setdefault(digest, [])
        waiting.append(answer)
        if len(waiting) == 1:
            self._turns.run(self._in_thread, lambda: hashed.matches(password)).addBoth(self._tell, digest)
        return answer

    def _tell(self, result: bool | Failure, digest: bytes) -> None:
        for answer in self._under_way.pop(digest):
            answer.callback(result)

    def _thread(self, function: Callable[[], bool]) -> Deferred[bool]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function)

    def _verdict(self, matches: bool, guess: LoginAttempt, grant: Grant, digest: bytes, known: bool) -> Grant | Deferred[Grant]:
        # the file may have been read again meanwhile
        if matches and known and self.users.get(grant.user) == grant.hash and grant.hash is not None:
            self._verified[digest] = grant.hash
            if len(self._verified) > MAX_REMEMBERED:
                self._verified.popitem(last=False)
            guess.right()
            return grant
        refused: Deferred[Grant] = Deferred()
        self._late[refused] = self._reactor.callLater(guess.wrong(), self._refuse, guess, refused)
        return refused

    def _refuse(self, guess: LoginAttempt, refused: Deferred[Grant]) -> None:
        del self._late[refused]
        guess.over()
        refused.errback(AuthenticationFailed(RefusalReason.WRONG_PASSWORD, "wrong user or password"))

    def _failed(self, failure: Failure, guess: LoginAttempt) -> Failure:
        guess.over()
        return Failure(AuthenticationFailed(RefusalReason.FAILED, f"its password could not be verified: {failure.value}"))

    # -- digests

    def _digest(self, name: str, password: str) -> bytes:
        # the length says where the name ends
        return hmac.digest(self._key, f"{len(name)} {name} {password}".encode(), "sha256")

    def _decoy(self, name: str) -> PasswordHash:
        return self.users.decoy(int.from_bytes(self._digest(name, "")[:8], "big"))
