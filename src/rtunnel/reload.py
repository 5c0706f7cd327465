"""SIGHUP: what was asked for is read again, and the service becomes what it asks for now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.logger import Logger

from rtunnel.cli import Resolved
from rtunnel.ops.process import ProcessService
from rtunnel.ops.start import StartError
from rtunnel.ops.systemd import Notifier
from rtunnel.options.table import name_of
from rtunnel.settings import SettingsError
from rtunnel.settings.diff import changed_fields

__all__ = ["Reloader"]


class Reloader:
    """Reloads a service; owned by the process.

    The same command line and environment are read again, with the configuration file and whatever other file they name. What is
    wrong in them is logged, and then nothing changes. Settings of the process that a running service cannot change, such as
    ``admin``, stay as they are, and that is said.

    :param ask: gives the settings as they are asked for now.
    :param service: has :attr:`settings`, :meth:`reload` and :attr:`live`, the names of the settings that it can change.
    :param process: told of a new ``drain``.
    :param notifier: the service manager, if it wants to know.
    """

    def __init__(self, ask: Callable[[], Resolved[Any]], service: Any, process: ProcessService, notifier: Notifier | None) -> None:
        self._ask = ask
        self._service = service
        self._process = process
        self._notifier = notifier
        self._log = Logger()

    def reload(self) -> None:
        """Read and apply; never raises."""
        if self._notifier is not None:
            self._notifier.reloading()
        try:
            self._reload()
        except (SettingsError, StartError) as error:
            for line in str(error).splitlines():
                self._log.error("not reloaded, nothing changed: {line}", line=line)
        except Exception:
            self._log.failure("error while reloading")
        if self._notifier is not None:
            self._notifier.ready()

    def _reload(self) -> None:
        asked = self._ask()
        for warning in asked.warnings:
            self._log.warn("{text}", text=warning)
        settings, fixed = self._changeable(asked.settings)
        done: list[str] = self._service.reload(settings)
        if settings.drain != self._process.drain:
            self._process.drain = settings.drain
            done.append(f"drain is {settings.drain:g} s now")
        for name in fixed:
            self._log.warn("reload: {name} stays as it is until a restart", name=name_of(name) or name.replace("_", "-"))
        self._log.info("reloaded: {what}", what=", ".join(done) or "nothing changed")

    def _changeable(self, wanted: Any) -> tuple[Any, list[str]]:
        """The wanted settings, but for what has to stay as it is; and the names of that."""
        now = self._service.settings
        fixed = [name for name in changed_fields(now, wanted) if name not in self._service.live]
        return attrs.evolve(wanted, **{name: getattr(now, name) for name in fixed}), fixed
