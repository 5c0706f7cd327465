"""The admin endpoint on a port, for probes, Prometheus and other machines; where it is asked for (``--admin``).

Plain HTTP without authentication: bind it to loopback or the pod's address, never to a public one.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from rtunnel.ops.admin_answers import AdminAnswers, AdminFactory
from rtunnel.ops.start import ADMIN_ENDPOINT, cannot_listen
from rtunnel.settings import Address
from rtunnel.transport.accepting import AcceptingPort
from rtunnel.transport.fixed_room import FixedRoom
from rtunnel.transport.sockets import listen_tcp

__all__ = ["AdminService"]

MOST = 32
"""Connections at a time, of the descriptors that are kept back (:data:`rtunnel.ops.descriptors.RESERVE`)."""


class AdminService(Service):
    """Serves probes, metrics and the status, from its start to its stop.

    It must outlive the drain: until then ``/livez`` succeeds, and ``/readyz`` fails so that no new visitors arrive.

    :param address: where to listen; an empty host is every address, port 0 any free port.
    :param answers: what it says.
    :param reactor: the reactor.
    """

    def __init__(self, address: Address, answers: AdminAnswers, reactor: Any) -> None:
        self._address = address
        self._answers = answers
        self._reactor = reactor
        self._listening: Any = None
        self._log = Logger()

    @property
    def port(self) -> int:
        """The bound port.

        :raises AttributeError: when it is not running.
        """
        return int(self._listening.getHost().port)

    def startService(self) -> None:
        """Bind the port.

        :raises StartError: it cannot be bound.
        """
        host, port = self._address.host, self._address.port
        try:
            self._listening = listen_tcp(self._reactor, host, port, AdminFactory(self._answers, self._reactor))
            AcceptingPort(self._listening, self._reactor).use(FixedRoom("connections to the admin endpoint", self._reactor, MOST))
        except (CannotListenError, OSError) as error:
            raise cannot_listen(ADMIN_ENDPOINT, self._address, error) from error
        super().startService()  # type: ignore[no-untyped-call]
        self._log.info("admin endpoint on {host}:{port}", host=self._address.host or "*", port=self.port)

    def stopService(self) -> Deferred[None]:
        """Close the port; fires when it is closed. Pending responses are still sent."""
        super().stopService()  # type: ignore[no-untyped-call]
        listening, self._listening = self._listening, None
        return maybeDeferred(listening.stopListening) if listening is not None else succeed(None)
