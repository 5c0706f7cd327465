"""The files of a pod for a command: a copy that is brought up to date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.client.pod.copies import FileCopy
from rtunnel.client.pod.link import PodLinkClient
from rtunnel.podfiles.volumes import Volume

__all__ = ["CommandFiles"]


class CommandFiles:
    """The copy; owned by the session.

    :param link: to the server; it is up when the copy is made.
    :param folder: is made if it is not there.
    :param changed: called when files have changed.
    :ivar folder: of the copy.
    :ivar paths: of the volumes in the pod, once the copy is made.
    """

    _log = Logger()

    def __init__(self, link: PodLinkClient, folder: Path, changed: Callable[[], None]) -> None:
        self.folder = folder
        self.paths: tuple[str, ...] = ()
        self._copy = FileCopy(link, folder, self._copied)
        self._changed = changed
        self._following: Deferred[None] | None = None

    async def make(self) -> None:
        """Make the copy, and follow the files from now on.

        :raises PodAskFailed: they are not to be had.
        :raises CopyFailed: they cannot be written.
        """
        volumes = await self._copy.make()
        self.paths = tuple(volume.path for volume in volumes)
        if volumes:
            self._following = Deferred.fromCoroutine(self._copy.follow())
            self._following.addErrback(self._not_followed)

    def stop(self) -> None:
        """Follow them no more."""
        if self._following is not None:
            self._following.cancel()

    def _copied(self, volumes: list[Volume]) -> None:
        if self._following is not None:
            self._log.info("files of the pod have changed: {paths}", paths=", ".join(volume.path for volume in volumes))
            self._changed()

    def _not_followed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.warn("the copy of the pod's files stays as it is: {reason}", reason=failure.getErrorMessage())
