"""SIGHUP: the options are read again, and what changed in them is applied to the running service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.logger import Logger

from rtunnel.ops.process import ProcessService
from rtunnel.ops.start import StartError
from rtunnel.ops.systemd import Notifier
from rtunnel.options.table import name_of
from rtunnel.roles import Resolved
from rtunnel.roles.service import Reloadable
from rtunnel.settings import SettingsError
from rtunnel.settings.diff import changed_fields

__all__ = ["Reloader"]


class Reloader:
    """Reloads a service; owned by the process.

    The same command line and environment are read again, with the configuration file and all other files that they name. An error
    in them is logged, and nothing changes. Settings of the process that a running service cannot change, such as
    ``admin``, stay as they are, with a warning.

    :param resolve: gives the settings as they are now.
    :param service: what is reloaded.
    :param process: whose ``drain`` can change.
    :param notifier: the service manager, if it wants to be told.
    """

    def __init__(
        self, resolve: Callable[[], Resolved[Any]], service: Reloadable, process: ProcessService, notifier: Notifier | None
    ) -> None:
        self._resolve = resolve
        self._service = service
        self._process = process
        self._notifier = notifier
        self._log = Logger()

    def reload(self) -> None:
        """Read and apply the settings; never raises."""
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
        resolved = self._resolve()
        for warning in resolved.warnings:
            self._log.warn("{text}", text=warning)
        settings, fixed = self._changeable(resolved.settings)
        changes = self._service.reload(settings)
        if settings.drain != self._process.drain:
            self._process.drain = settings.drain
            changes.append(f"drain is {settings.drain:g} s now")
        for name in fixed:
            self._log.warn("{name} is not reloaded; restart the process to change it", name=name_of(name) or name.replace("_", "-"))
        self._log.info("reloaded: {changes}", changes=", ".join(changes) or "nothing changed")

    def _changeable(self, wanted: Any) -> tuple[Any, list[str]]:
        """The new settings with the old values of those that cannot change, and the names of these."""
        current = self._service.settings
        fixed = [name for name in changed_fields(current, wanted) if name not in self._service.live]
        return attrs.evolve(wanted, **{name: getattr(current, name) for name in fixed}), fixed
