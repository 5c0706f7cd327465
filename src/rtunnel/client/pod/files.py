"""Files of the application's volumes for developers: read when they are asked for, and given out as one document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs
from twisted.logger import Logger

from rtunnel.client.pod.giving import Giver
from rtunnel.client.targets import Forwarder
from rtunnel.outcomes import StreamOutcome
from rtunnel.podfiles.reading import ReadingError, read_volume
from rtunnel.podfiles.volumes import MAX_TOTAL, Volume, revision_of, write_volumes
from rtunnel.settings import FileRoot
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.control import clean
from rtunnel.wire.pod import Cause, PodAnswer, PodRequest

__all__ = ["FilesService"]

MAX_LOGGED = 4000
"""Characters of names in a line of the log."""


class FilesService:
    """Gives out the files of some volumes; owned by what a connector offers.

    :param roots: the volumes.
    """

    _log = Logger()

    def __init__(self, roots: Iterable[FileRoot]) -> None:
        self._roots = tuple(roots)
        self._giver = Giver()

    def serve(self, request: PodRequest, user: str, forwarder: Forwarder, stream: TunnelStream, early: bytes) -> None:
        """Answer a stream of the server; nothing more is expected of it."""
        if self._giver.is_busy(forwarder, stream):
            return
        try:
            volumes = list(self._read(request.path, contents=request.values))
        except ReadingError as error:
            self._log.warn("{who} gets no files of the pod: {reason}", who=_who(user), reason=str(error))
            self._giver.refuse(forwarder, stream, PodAnswer(Cause.FAILED, str(error)), StreamOutcome.TARGET_REFUSED)
            return
        if not volumes:
            answer = PodAnswer(Cause.NOT_ALLOWED, f"the client in the pod gives out no {clean(request.path)} (--files)")
            self._log.info("{who} gets no files of the pod: {reason}", who=_who(user), reason=answer.why)
            self._giver.refuse(forwarder, stream, answer, StreamOutcome.NO_TARGET)
            return
        if request.have and request.have == revision_of(volumes):
            volumes = []
        names = tuple(f"{volume.path}/{file.path}" for volume in volumes for file in volume.files)
        if names or not request.have:
            self._log.info(
                "{who} gets {what} of files of the pod: {names}",
                who=_who(user),
                what="contents" if request.values else "names",
                names=clean(", ".join(names), MAX_LOGGED),
            )
        self._giver.give(forwarder, stream, PodAnswer(names=names if request.values else ()), write_volumes(volumes))

    def _read(self, path: str, *, contents: bool) -> Iterator[Volume]:
        """The volumes that have something at a path.

        :raises ReadingError: one cannot be read.
        """
        room = MAX_TOTAL
        for root in self._roots:
            if path and path != root.path and not path.startswith(f"{root.path}/"):
                continue
            try:
                volume = read_volume(root.path, root.directory, contents=contents, room=room)
            except ReadingError as error:
                raise ReadingError(f"{root.path}: {error}") from None
            room -= sum(file.size for file in volume.files)
            found = _within(volume, path)
            if found is not None:
                yield found


def _within(volume: Volume, path: str) -> Volume | None:
    """What of a volume is at a path; None if nothing is."""
    if path in ("", volume.path):
        return volume
    inner = path.removeprefix(f"{volume.path}/")
    files = tuple(file for file in volume.files if file.path == inner or file.path.startswith(f"{inner}/"))
    return attrs.evolve(volume, files=files, left_out=()) if files else None


def _who(user: str) -> str:
    return user or "an anonymous user"
