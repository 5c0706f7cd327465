"""Authenticates clients and visitors by user name and password."""

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

__all__ = ["ANONYMOUS", "AuthenticationFailed", "Authenticator", "Grant", "InThread", "WrongPassword"]

MAX_THREADS: Final = 1
"""Passwords that are verified at the same time, in a thread of the reactor's pool: each takes 19 MiB and a processor, and strangers
can have as many verified as they like. One takes 17 ms, and equal ones are verified together."""
MAX_PENDING: Final = 256
"""Passwords that are verified or wait to be."""
MAX_REMEMBERED: Final = 10_000
"""Verified passwords that are remembered, and clients that are known again."""
THROTTLED_DELAY: Final = 1.0
"""Seconds that a rejection without a check is delayed: who tries again at once would keep the server busy."""
MIN_KEY: Final = 32
"""Characters of the shortest key by which a client is known again: shorter ones could be guessed."""


InThread = Callable[[Callable[[], bool]], Deferred[bool]]
"""Runs a function in a thread."""


@frozen
class Grant:
    """An authenticated user; :data:`ANONYMOUS` where no authentication is required.

    :ivar user: the name, ``""`` for ``ANONYMOUS``.
    :ivar hash: of the password that the user gave.
    """

    user: str
    hash: PasswordHash | None


ANONYMOUS: Final = Grant("", None)


@frozen
class WrongPassword:
    """A wrong password that somebody has tried.

    :ivar address: from where, without a port.
    :ivar name: of the user.
    :ivar digest: the same for the same name and password at one server; without the key of that process it tells nothing.
    """

    address: str
    name: str
    digest: bytes


class AuthenticationFailed(Exception):
    """A client or visitor was rejected.

    :param kind: the reason, for the metrics.
    :param reason: the reason, for the log.
    """

    def __init__(self, kind: RefusalReason, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class _Remembered:
    """Digests of what was verified, each with the password hash that it was verified against; bounded."""

    __slots__ = ("_hashes",)

    def __init__(self) -> None:
        self._hashes: OrderedDict[bytes, PasswordHash] = OrderedDict()

    def has(self, digest: bytes, hashed: PasswordHash) -> bool:
        if self._hashes.get(digest) != hashed:
            return False
        self._hashes.move_to_end(digest)
        return True

    def add(self, digest: bytes, hashed: PasswordHash) -> None:
        if digest:
            self._hashes[digest] = hashed
            if len(self._hashes) > MAX_REMEMBERED:
                self._hashes.popitem(last=False)


@frozen
class _Login:
    """What a password is verified for.

    :ivar known: whether there is such a user.
    :ivar digest: of the name and the password.
    :ivar client: the same with the key of the client, ``b""`` without one.
    :ivar address: where the connection comes from.
    """

    attempt: LoginAttempt
    address: str
    grant: Grant
    hash: PasswordHash
    known: bool
    digest: bytes
    client: bytes


class Authenticator:
    """Verifies passwords in threads, a bounded number at a time; owned by the access control of a listener.

    Verified passwords are remembered, so that a client that reconnects, and many clients of one user, cost nothing. What is kept is
    not the password but its digest with a key of this process; it is valid only as long as the users file has the hash that the
    password was verified against.

    A client that sent a key with its right password is known again by the two: it is admitted at once, whatever others guess from
    its address or at its name. To try passwords in that way one would have to guess the key as well. A remembered password alone
    must not pass the throttle by: it could be guessed at the speed of the network.

    :param users: who may connect; may be replaced at any time.
    :param reactor: the clock, and the pool of threads.
    :param in_thread: runs a function in a thread; for tests.
    :param on_wrong: called with each :class:`WrongPassword`.
    """

    def __init__(
        self,
        users: Users,
        *,
        reactor: Any,
        in_thread: InThread | None = None,
        on_wrong: Callable[[WrongPassword], None] = lambda _: None,
    ) -> None:
        self.users = users
        self._on_wrong = on_wrong
        self._reactor = reactor
        self._throttle = GuessThrottle(reactor.seconds)
        self._in_thread = in_thread or self._run_in_thread
        self._semaphore = DeferredSemaphore(MAX_THREADS)
        self._key = secrets.token_bytes(32)
        self._verified = _Remembered()
        self._clients = _Remembered()
        self._pending: dict[bytes, list[Deferred[bool]]] = {}
        self._delayed: dict[Deferred[Grant], Any] = {}

    def admit(self, credentials: tuple[str, str] | None, address: str, key: bytes = b"") -> Deferred[Grant]:
        """Authenticate.

        :param credentials: user name and password.
        :param address: where the connection comes from, without a port.
        :param key: the secret by which the client wants to be known again; ``b""`` if it sent none.
        :returns: fires with the user; fails with :class:`AuthenticationFailed`, where a password was given after a delay.
        """
        if credentials is None or credentials == ("", ""):
            return fail(AuthenticationFailed(RefusalReason.NO_PASSWORD, "no user and password given"))
        name, password = credentials
        digest = self._digest(name, password)
        client = hmac.digest(self._key, digest + key, "sha256") if len(key) >= MIN_KEY else b""
        hashed = self.users.get(name)
        if hashed is not None and self._clients.has(client, hashed):
            return succeed(Grant(name, hashed))
        attempt = self._throttle.begin(address, name, digest)
        if attempt is None:
            reason = "too many wrong passwords from this address or for this user"
            return self._reject_later(THROTTLED_DELAY, RefusalReason.THROTTLED, reason)
        if hashed is not None and self._verified.has(digest, hashed):
            attempt.succeed()
            self._clients.add(client, hashed)
            return succeed(Grant(name, hashed))
        if digest not in self._pending and len(self._pending) >= MAX_PENDING:
            attempt.release()
            return self._reject_later(THROTTLED_DELAY, RefusalReason.THROTTLED, "too many passwords are waiting to be verified")
        known, hashed = hashed is not None, hashed or self._decoy(name)
        login = _Login(attempt, address, Grant(name, hashed), hashed, known, digest, client)
        return self._verify(digest, hashed, password).addCallbacks(
            self._decide, self._failed, callbackArgs=(login,), errbackArgs=(attempt,)
        )

    def close(self) -> None:
        """Cancel the delayed rejections; their Deferreds never fire."""
        for call in self._delayed.values():
            call.cancel()
        self._delayed.clear()

    # -- verification

    def _verify(self, digest: bytes, hashed: PasswordHash, password: str) -> Deferred[bool]:
        """Verify a password; only once if several attempts with the same one are pending."""
        result: Deferred[bool] = Deferred()
        waiting = self._pending.setdefault(digest, [])
        waiting.append(result)
        if len(waiting) == 1:
            self._semaphore.run(self._in_thread, lambda: hashed.matches(password)).addBoth(self._deliver, digest)
        return result

    def _deliver(self, result: bool | Failure, digest: bytes) -> None:
        for waiting in self._pending.pop(digest):
            waiting.callback(result)

    def _run_in_thread(self, function: Callable[[], bool]) -> Deferred[bool]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function)

    def _decide(self, matches: bool, login: _Login) -> Grant | Deferred[Grant]:
        # the file may have been reloaded meanwhile
        if matches and login.known and self.users.get(login.grant.user) == login.hash:
            self._verified.add(login.digest, login.hash)
            self._clients.add(login.client, login.hash)
            login.attempt.succeed()
            return login.grant
        self._on_wrong(WrongPassword(login.address, login.grant.user, login.digest))
        return self._reject_later(login.attempt.fail(), RefusalReason.WRONG_PASSWORD, "wrong user or password", login.attempt)

    def wrong_elsewhere(self, wrong: WrongPassword) -> None:
        """Another server was given a wrong password: count it here as well, so that several servers are not guessed at faster."""
        attempt = self._throttle.elsewhere(wrong.address, wrong.name, wrong.digest)
        self._reject_later(attempt.fail(), RefusalReason.WRONG_PASSWORD, "", attempt).addErrback(lambda _: None)

    def _reject_later(
        self, seconds: float, kind: RefusalReason, reason: str, attempt: LoginAttempt | None = None
    ) -> Deferred[Grant]:
        """Reject after a while, in which an attempt keeps its slots."""
        rejected: Deferred[Grant] = Deferred()
        self._delayed[rejected] = self._reactor.callLater(seconds, self._reject, rejected, kind, reason, attempt)
        return rejected

    def _reject(self, rejected: Deferred[Grant], kind: RefusalReason, reason: str, attempt: LoginAttempt | None) -> None:
        del self._delayed[rejected]
        if attempt is not None:
            attempt.release()
        rejected.errback(AuthenticationFailed(kind, reason))

    def _failed(self, failure: Failure, attempt: LoginAttempt) -> Failure:
        attempt.release()
        return Failure(AuthenticationFailed(RefusalReason.FAILED, f"the password could not be verified: {failure.value}"))

    # -- digests

    def _digest(self, name: str, password: str) -> bytes:
        # the length marks the end of the name
        return hmac.digest(self._key, f"{len(name)} {name} {password}".encode(), "sha256")

    def _decoy(self, name: str) -> PasswordHash:
        return self.users.decoy(int.from_bytes(self._digest(name, "")[:8], "big"))
