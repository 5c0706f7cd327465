"""What a developer's machine asks of the pod of a host, and what it is answered: the beginning of each stream of a pod link.

A *pod link* is a link on which the machine that connects opens the streams (:attr:`rtunnel.wire.relay.Command.POD`). Each stream
begins with a relay request, CONNECT, whose first address names a service of the pod (:class:`PodService`). The server finds a
client in the pod that offers it, opens a stream there to the same reserved destination, with the token that this client has told it
over the control stream as source and the authenticated user as metadata, and passes the request on. The answer is a relay response;
the bytes of the service follow. docs/protocol.md describes all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Final

from attrs import field, frozen

from rtunnel.wire.control import CONTROL_HOST, clean
from rtunnel.wire.relay import (
    HEADER,
    KEPT,
    KEPT_SIZE,
    Command,
    RelayAddress,
    Request,
    Response,
    Status,
    take_request,
    take_response,
)
from rtunnel.wire.relay_features import MAX_TEXT, RelayError

__all__ = ["RESERVED_HOSTS", "Cause", "PodAnswer", "PodRequest", "PodService", "Reach", "pod_preface", "user_of"]


class PodService(StrEnum):
    """What a pod can offer; the names are those of the rights, too."""

    REACH = "reach"
    """Connections to what the pod reaches."""
    ENV = "env"
    """The environment of the application."""
    FILES = "files"
    """Files of its volumes."""

    @property
    def host(self) -> str:
        """The destination of its streams, which no target has."""
        return f"{self.value}.rtunnel"


class Reach(StrEnum):
    """What is wanted of :attr:`PodService.REACH`."""

    CONNECTION = "connection"
    """A connection to a destination."""
    DATAGRAMS = "datagrams"
    """Datagrams to a destination, and its answers (:mod:`rtunnel.wire.datagram`)."""
    RULES = "rules"
    """The list of what may be reached."""


_SERVICES: Final = {service.host: service for service in PodService}
_REACHES: Final = {reach.value: reach for reach in Reach if reach is not Reach.CONNECTION}
RESERVED_HOSTS: Final = frozenset((CONTROL_HOST, *_SERVICES))
"""The destinations of streams that are for no target."""

_VERSION, _USER, _CAUSE, _WHY, _NAMES = "rt", "rt.user", "rt.cause", "rt.why", "rt.n."
_VALUES, _PATH, _HAVE, _REACH = "rt.values", "rt.path", "rt.have", "rt.reach"
VERSION: Final = "1"
SECOND_VERSION: Final = "2"
"""The version of requests that versions before them must refuse, rather than take them for others."""
_NOT_FOR_PODS: Final = "not a request to a pod"
"""What such versions say of them."""
_OLDER: Final = "the client in the pod, or the server, is older than this command and does not know what is asked; update it"
MAX_REQUEST: Final = 4096
"""Bytes of a request."""
MAX_NAME_PAIRS: Final = 16
"""Pairs of metadata that an answer has for names."""


class Cause(StrEnum):
    """Why something is not to be had."""

    NOT_ALLOWED = "not allowed"
    """A rule, or the lack of one, forbids it."""
    NO_NAME = "no such name"
    """The pod's DNS knows no such name."""
    NO_DNS = "no answer of the DNS"
    """The pod's DNS did not answer."""
    REFUSED = "refused"
    """Nothing listens there."""
    UNREACHABLE = "unreachable"
    """There is no way there."""
    TIMED_OUT = "timed out"
    """Nothing answered in time."""
    BUSY = "busy"
    """There are too many connections."""
    NO_POD = "no pod"
    """No client that offers it has joined."""
    FAILED = "failed"
    """Something else went wrong."""


NOWHERE: Final = RelayAddress("", 0)
"""The destination of a request that needs none."""

_STATUSES: Final[Mapping[Cause, Status]] = {
    Cause.NOT_ALLOWED: Status.FORBIDDEN,
    Cause.NO_NAME: Status.HOST_UNREACHABLE,
    Cause.NO_DNS: Status.HOST_UNREACHABLE,
    Cause.REFUSED: Status.HOST_UNREACHABLE,
    Cause.UNREACHABLE: Status.NETWORK_UNREACHABLE,
    Cause.TIMED_OUT: Status.TIMEOUT,
    Cause.BUSY: Status.SERVICE_UNAVAILABLE,
    Cause.NO_POD: Status.SERVICE_UNAVAILABLE,
    Cause.FAILED: Status.INTERNAL_SERVER_ERROR,
}


@frozen(cache_hash=True)
class PodRequest:
    """What a stream of a pod link is for.

    :ivar service: of the pod.
    :ivar destination: of REACH: where to.
    :ivar values: of ENV and FILES: whether the values, or contents, are wanted, and not only the names.
    :ivar path: of FILES: of a volume or file, as the application has it; ``""`` for all.
    :ivar have: of FILES: the revision that is there already: nothing is sent unless there is another one.
    :ivar reach: of REACH: what is wanted.
    """

    service: PodService
    destination: RelayAddress = field(default=NOWHERE)
    values: bool = False
    path: str = ""
    have: str = ""
    reach: Reach = Reach.CONNECTION

    @staticmethod
    @lru_cache(KEPT)
    def to(host: str, port: int) -> PodRequest:
        """The request for a connection to a destination."""
        return PodRequest(PodService.REACH, RelayAddress(host, port))

    def encode(self) -> bytes:
        """The request as the first bytes of the stream.

        :raises ValueError: the destination or the path cannot be sent.
        """
        return _encoded(self)

    @classmethod
    def of(cls, request: Request) -> PodRequest:
        """Read a request.

        :raises RelayError: it is of another kind or version, or its destination is none.
        """
        metadata, version = request.metadata, request.metadata.get(_VERSION)
        if request.command is not Command.CONNECT or len(request.addresses) != 2 or version not in (VERSION, SECOND_VERSION):
            raise RelayError(_NOT_FOR_PODS)
        service, destination = _SERVICES.get(request.addresses[0].host), request.addresses[1]
        if service is None:
            raise RelayError("an unknown service of a pod")
        reach = Reach.CONNECTION if version == VERSION else _REACHES.get(metadata.get(_REACH, ""))
        if reach is None or (service is not PodService.REACH and reach is not Reach.CONNECTION):
            raise RelayError(_NOT_FOR_PODS)
        if service is PodService.REACH and reach is not Reach.RULES and not (destination.host and destination.port):
            raise RelayError("no host or port to reach")
        return cls(service, destination, metadata.get(_VALUES) == "1", metadata.get(_PATH, ""), metadata.get(_HAVE, ""), reach)

    @classmethod
    def take(cls, data: bytes) -> tuple[PodRequest, int] | None:
        """Read the request at the beginning of a stream.

        :returns: the request and its size; None while it is not complete.
        :raises RelayError: there is none, or it is longer than :data:`MAX_REQUEST` bytes.
        """
        end = _end(data)
        if end:
            return _kept_request(data[:end]), end
        taken = take_request(data)
        if taken is not None:
            return cls.of(taken[0]), taken[1]
        if len(data) > MAX_REQUEST:
            raise RelayError("the request is too long")
        return None

    def meant(self, answer: PodAnswer) -> PodAnswer:
        """An answer as it is meant: who does not know what is asked cannot say so."""
        if self.reach is not Reach.CONNECTION and answer == PodAnswer(Cause.FAILED, _NOT_FOR_PODS):
            return PodAnswer(Cause.FAILED, _OLDER)
        return answer

    def __str__(self) -> str:
        """What it is for, for logs."""
        if self.reach is Reach.RULES:
            return "the list of what may be reached"
        if self.service is PodService.REACH:
            host, port = self.destination.host, self.destination.port
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            return f"{shown}/udp" if self.reach is Reach.DATAGRAMS else shown
        if self.service is PodService.FILES:
            return f"{'contents' if self.values else 'names'} of {clean(self.path) or 'all'}"
        return "values" if self.values else "names"


@lru_cache(KEPT)
def _encoded(request: PodRequest) -> bytes:
    addresses = (RelayAddress(request.service.host, 0), request.destination)
    pairs = {_VERSION: VERSION, _VALUES: "1" if request.values else "", _PATH: request.path, _HAVE: request.have}
    if request.reach is not Reach.CONNECTION:
        pairs |= {_VERSION: SECOND_VERSION, _REACH: request.reach.value}
    metadata = {key: value for key, value in pairs.items() if value}
    return Request(Command.CONNECT, addresses=addresses, metadata=metadata).encode()


def _end(data: bytes) -> int:
    """Where the message ends at the beginning of the data; 0 if it is not complete, or none of those that are remembered."""
    end = HEADER + int.from_bytes(data[2:HEADER])
    return end if HEADER < end <= len(data) and end <= KEPT_SIZE else 0


@lru_cache(KEPT)
def _kept_request(message: bytes) -> PodRequest:
    taken = take_request(message)
    assert taken is not None
    return PodRequest.of(taken[0])


@frozen
class PodAnswer:
    """The answer to a :class:`PodRequest`.

    :ivar cause: why not; None if the bytes of the service follow.
    :ivar why: the same for people, and what to do; made printable as it is read.
    :ivar names: of ENV and FILES: what is given, for the server's log; as many as fit.
    """

    cause: Cause | None = None
    why: str = ""
    names: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The response."""
        pairs = {_VERSION: VERSION, _CAUSE: self.cause or "", _WHY: _clip(self.why)}
        pairs |= {f"{_NAMES}{number}": text for number, text in enumerate(_joined(self.names))}
        metadata = {key: value for key, value in pairs.items() if value}
        return Response(_STATUSES[self.cause] if self.cause else Status.OK, metadata=metadata).encode()

    @classmethod
    def take(cls, data: bytes) -> tuple[PodAnswer, int] | None:
        """Read the answer at the beginning of a stream.

        :returns: the answer and its size; None while it is not complete.
        :raises RelayError: there is none.
        """
        end = _end(data)
        if end:
            return _kept_answer(data[:end]), end
        taken = take_response(data)
        return None if taken is None else (cls.of(taken[0]), taken[1])

    @classmethod
    def of(cls, response: Response) -> PodAnswer:
        """Read a response; one whose cause is not known has failed."""
        names = ",".join(value for key, value in response.metadata.items() if key.startswith(_NAMES))
        found = tuple(clean(name, MAX_TEXT) for name in names.split(",")) if names else ()
        if response.status is Status.OK:
            return cls(None, "", found)
        given = response.metadata.get(_CAUSE, "")
        cause = Cause(given) if given in _CAUSES else Cause.FAILED
        return cls(cause, clean(response.metadata.get(_WHY, ""), MAX_TEXT) or response.status.description, found)


_CAUSES: Final = frozenset(Cause)


@lru_cache(KEPT)
def _kept_answer(message: bytes) -> PodAnswer:
    taken = take_response(message)
    assert taken is not None
    return PodAnswer.of(taken[0])


@lru_cache(KEPT)
def pod_preface(token: str, service: PodService, user: str) -> bytes:
    """The preface of a stream of the server to a client that offers a service of its pod; the request follows.

    :param token: what the client knows the server by.
    :param user: for whom it is, ``""`` where there are no users.
    """
    addresses = (RelayAddress(token, 0), RelayAddress(service.host, 0))
    metadata = {_VERSION: VERSION} | ({_USER: user} if user else {})
    return Response(Status.OK, addresses, metadata=metadata).encode()


def user_of(preface: Response) -> str:
    """For whom a stream is, as its preface says; ``""`` where there are no users."""
    return _kept_user(preface.metadata.get(_USER, ""))


@lru_cache(KEPT)
def _kept_user(user: str) -> str:
    return clean(user, MAX_TEXT)


def _clip(text: str) -> str:
    return text.encode()[:MAX_TEXT].decode(errors="ignore")


def _joined(names: tuple[str, ...]) -> list[str]:
    """Names with commas between them, in as few texts as hold them; the last one says how many are left out."""
    texts: list[str] = []
    for done, name in enumerate(names):
        if texts and len(f"{texts[-1]},{name}".encode()) <= MAX_TEXT:
            texts[-1] += f",{name}"
        elif len(texts) < MAX_NAME_PAIRS:
            texts.append(_clip(name))
        else:
            return [*texts, f"and {len(names) - done} more"]
    return texts
