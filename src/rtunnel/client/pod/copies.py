"""A copy of a pod's files on a developer's machine, brought up to date whenever they change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.task import deferLater
from twisted.logger import Logger

from rtunnel.client.pod.asking import PodAskFailed, ask_files
from rtunnel.client.pod.link import PodLinkClient
from rtunnel.podfiles.copying import copy_volumes
from rtunnel.podfiles.volumes import Volume, revision_of

__all__ = ["INTERVAL", "CopyFailed", "FileCopy"]

INTERVAL = 2.0
"""Seconds between two questions for changes."""


class CopyFailed(Exception):
    """The copy cannot be written; the text says why, and what to do."""


class FileCopy:
    """The copy; owned by who needs it.

    :param link: to the server; it is up.
    :param folder: is made if it is not there.
    :param copied: called with what was copied, each time.
    """

    _log = Logger()

    def __init__(self, link: PodLinkClient, folder: Path, copied: Callable[[list[Volume]], None]) -> None:
        self._link = link
        self._folder = folder
        self._copied = copied
        self._have = ""

    async def make(self) -> list[Volume]:
        """Make it; returns what was copied.

        :raises PodAskFailed: the files are not to be had.
        :raises CopyFailed: it cannot be written.
        """
        volumes = await ask_files(self._link, contents=True)
        self._copy(volumes)
        return volumes

    async def follow(self) -> None:
        """Bring it up to date, until this is cancelled.

        :raises PodAskFailed: the files are not given out any more.
        :raises CopyFailed: it cannot be written.
        """
        failing = False
        while True:
            await deferLater(self._link.reactor, INTERVAL)
            try:
                volumes = await ask_files(self._link, contents=True, have=self._have)
            except PodAskFailed as error:
                if error.final:
                    raise
                if not failing:
                    self._log.warn("the copy is not brought up to date for now: {reason}", reason=str(error))
                failing = True
                continue
            failing = False
            if volumes:
                self._copy(volumes)

    def _copy(self, volumes: list[Volume]) -> None:
        try:
            copy_volumes(self._folder, volumes)
        except OSError as error:
            path = error.filename or self._folder
            hint = (
                "choose another folder, or remove what is there" if isinstance(error, FileExistsError) else "choose another folder"
            )
            raise CopyFailed(f"{path}: cannot be written: {error.strerror or error}; {hint}") from None
        self._have = revision_of(volumes)
        self._copied(volumes)
