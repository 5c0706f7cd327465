"""The environment of the application for developers: read when it is asked for, filtered, and given out as one document."""

from __future__ import annotations

from twisted.logger import Logger

from rtunnel.client.pod.giving import Giver
from rtunnel.client.targets import Forwarder
from rtunnel.outcomes import StreamOutcome
from rtunnel.podenv.rules import EnvRules
from rtunnel.podenv.sources import SourceError, read_source
from rtunnel.podenv.variables import write_document
from rtunnel.settings import PodEnvSettings
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.control import clean
from rtunnel.wire.pod import Cause, PodAnswer, PodRequest

__all__ = ["EnvironmentService"]

_UNREADABLE = PodAnswer(Cause.FAILED, "the client in the pod cannot read the environment (--env-source); check its log")
MAX_LOGGED = 4000
"""Characters of names in a line of the log."""


class EnvironmentService:
    """Gives out what its rules allow; owned by what a connector offers.

    :param settings: what is allowed.
    :param source: where the environment is read.
    """

    _log = Logger()

    def __init__(self, settings: PodEnvSettings, source: str) -> None:
        self._rules = EnvRules(settings.allow, settings.allow_secret, settings.deny)
        self._source = source
        self._giver = Giver()

    def serve(self, request: PodRequest, user: str, forwarder: Forwarder, stream: TunnelStream, early: bytes) -> None:
        """Answer a stream of the server; nothing more is expected of it."""
        if self._giver.is_busy(forwarder, stream):
            return
        try:
            given = self._rules.given(read_source(self._source), values=request.values)
        except SourceError as error:
            self._log.warn("{who} gets no environment of the pod: {reason}", who=_who(user), reason=str(error))
            self._giver.refuse(forwarder, stream, _UNREADABLE, StreamOutcome.TARGET_REFUSED)
            return
        names = tuple(variable.name for variable in given if variable.value is not None or not request.values)
        self._log.info(
            "{who} gets {what} of the environment of the pod: {names}",
            who=_who(user),
            what="values" if request.values else "names",
            names=clean(", ".join(names), MAX_LOGGED),
        )
        self._giver.give(forwarder, stream, PodAnswer(names=names if request.values else ()), write_document(given))


def _who(user: str) -> str:
    return user or "an anonymous user"
