"""Two threads that wait for Redis, so that the reactor never does: one for commands, one for what is published.

They know nothing of what they carry. Everything that they report is called in the reactor's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.registry.redis_client import Client

__all__ = ["CommandThread", "SubscriptionThread"]

T = TypeVar("T")
Job = Callable[[Client], T]

POLL = 0.5
"""Seconds after which the thread of the subscription looks whether it is still wanted."""
MAX_TURN = 0.005
"""Seconds of a turn of the reactor in which messages are reported; the last one may take longer."""


class CommandThread:
    """Runs commands one after the other. It ends with the process, or when it is stopped.

    :param new_client: makes a client.
    :param reactor: in whose thread the answers are reported.
    """

    def __init__(self, new_client: Callable[[], Client], reactor: Any) -> None:
        self._new_client = new_client
        self._reactor = reactor
        self._jobs: SimpleQueue[tuple[Job[Any], Deferred[Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="registry commands", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after what was asked for; does not wait."""
        self._jobs.put(None)

    def run(self, job: Job[T]) -> Deferred[T]:
        """Run something; fires with what it returns, or fails with what it raises."""
        deferred: Deferred[T] = Deferred()
        self._jobs.put((job, deferred))
        return deferred

    def _work(self) -> None:
        client: Client | None = None
        while (asked := self._jobs.get()) is not None:
            job, deferred = asked
            try:
                client = client or self._new_client()
                answer = job(client)
            except Exception:
                # an answer that comes too late must not be taken for that of another command
                if client is not None:
                    client.close()
                    client = None
                self._reactor.callFromThread(_report, deferred.errback, Failure())
            else:
                self._reactor.callFromThread(_report, deferred.callback, answer)
        if client is not None:
            client.close()


def _report(call: Callable[[Any], None], value: Any) -> None:
    call(value)


class SubscriptionThread:
    """Subscribes to channels, and again whenever the connection is lost.

    :param new_client: makes a client.
    :param channels: their names.
    :param on_subscribed: called each time it has subscribed: what was published before may be missed.
    :param on_message: called with the channel and each message.
    :param on_lost: called with the error when it is not subscribed any more, or could not subscribe.
    :param wait: returns the seconds until the next attempt, given how many have failed.
    """

    _log = Logger()

    def __init__(
        self,
        new_client: Callable[[], Client],
        channels: Iterable[str],
        *,
        on_subscribed: Callable[[], None],
        on_message: Callable[[str, bytes], None],
        on_lost: Callable[[Exception], None],
        wait: Callable[[int], float],
        reactor: Any,
    ) -> None:
        self._new_client = new_client
        self._channels = tuple(channels)
        self._on_subscribed = on_subscribed
        self._on_message = on_message
        self._on_lost = on_lost
        self._wait = wait
        self._reactor = reactor
        self._stopped = Event()
        self._again = Event()
        self._lock = Lock()
        self._inbox: deque[Callable[[], None]] = deque()
        self._thread = Thread(target=self._work, name="registry subscription", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; nothing is reported any more."""
        self._stopped.set()

    def again(self) -> None:
        """Subscribe over another connection."""
        self._again.set()

    # -- in the thread

    def _work(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            client = self._new_client()
            try:
                for confirmed in self._listen(client):
                    failures = 0 if confirmed else failures
            except Exception as error:
                failures += 1
                self._put(partial(self._on_lost, error))
            finally:
                client.close()
            self._stopped.wait(self._wait(failures))

    def _listen(self, client: Client) -> Iterable[bool]:
        """Report what comes until the connection is lost or another one is wanted; yields whether it is subscribed now."""
        self._again.clear()
        with client.pubsub() as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(*self._channels)
            confirmed = 0
            while not (self._stopped.is_set() or self._again.is_set()):
                message = subscription.get_message(timeout=POLL)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    # once more for each channel if the library has connected anew
                    confirmed += 1
                    if confirmed % len(self._channels) == 0:
                        self._put(self._on_subscribed)
                        yield True
                elif message["type"] == "message":
                    self._put(partial(self._on_message, message["channel"].decode(), message["data"]))

    def _put(self, report: Callable[[], None]) -> None:
        with self._lock:
            self._inbox.append(report)
            first = len(self._inbox) == 1
        if first:
            self._reactor.callFromThread(self._take)

    # -- in the reactor

    def _take(self) -> None:
        end = self._reactor.seconds() + MAX_TURN
        while True:
            report = self._inbox[0]
            if not self._stopped.is_set():
                try:
                    report()
                except Exception:
                    # what comes after it is still to be reported
                    self._log.failure("error in what the shared registry has caused")
            with self._lock:
                self._inbox.popleft()
                if not self._inbox:
                    return
            if self._reactor.seconds() >= end:
                self._reactor.callLater(0, self._take)
                return
