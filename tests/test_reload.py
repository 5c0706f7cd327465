"""SIGHUP: what is read again and applied, what is logged, and what stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import attrs
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.process import ProcessService
from rtunnel.ops.start import StartError
from rtunnel.ops.systemd import Notifier
from rtunnel.reload import Reloader
from rtunnel.roles import Resolved
from rtunnel.routing.ingress import IngressRule
from rtunnel.settings import Address, ListenerSettings, ServerSettings, SettingsError, SettingsErrors

RULE = IngressRule("a.local", UUID("10bc451e-59dc-4c70-999e-91a30813ac78"))
SETTINGS = ServerSettings((ListenerSettings(listen=Address("", 1), rules=(RULE,)),))


class Service:
    """Applies settings as a real one does."""

    live = frozenset(("listeners", "drain"))

    def __init__(self) -> None:
        self.settings = SETTINGS
        self.refusal: StartError | None = None

    def reload(self, settings: ServerSettings) -> list[str]:
        if self.refusal is not None:
            raise self.refusal
        changed = settings.listeners != self.settings.listeners
        self.settings = settings
        return ["listener *:1 changed"] if changed else []


class Words(Notifier):
    """Keeps the notifications instead of sending them."""

    def __init__(self) -> None:
        super().__init__("@nowhere")
        self.words: list[str] = []

    def _send(self, state: str, status: str = "") -> None:
        self.words.append(state.partition("=")[0])


class ReloaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.service, self.notifier = Service(), Words()
        self.process = ProcessService(None, SETTINGS.drain)

    def reload(self, ask: Callable[[], Resolved[Any]] | ServerSettings, *warnings: str) -> list[tuple[LogLevel, str]]:
        """The log."""
        settings = ask
        asking = (lambda: Resolved(settings, warnings)) if isinstance(settings, ServerSettings) else settings
        with capturedLogs() as events:
            Reloader(asking, self.service, self.process, self.notifier).reload()
        self.assertEqual(self.notifier.words, ["RELOADING", "READY"])
        return [(event["log_level"], formatEvent(event)) for event in events]

    def test_nothing_changed(self) -> None:
        self.assertEqual(self.reload(SETTINGS), [(LogLevel.info, "reloaded: nothing changed")])

    def test_changed(self) -> None:
        wanted = attrs.evolve(SETTINGS, listeners=(attrs.evolve(SETTINGS.listeners[0], path="/x"),), drain=3.0)
        self.assertEqual(self.reload(wanted), [(LogLevel.info, "reloaded: listener *:1 changed, drain is 3 s now")])
        self.assertEqual((self.service.settings, self.process.drain), (wanted, 3.0))

    def test_what_needs_a_restart(self) -> None:
        wanted = attrs.evolve(SETTINGS, admin=Address("", 9), drain=3.0)
        said = self.reload(wanted)
        self.assertEqual(said[0], (LogLevel.warn, "--admin is not reloaded; restart the process to change it"))
        self.assertEqual((self.service.settings.admin, self.service.settings.drain), (None, 3.0))

    def test_warnings(self) -> None:
        self.assertEqual(self.reload(SETTINGS, "the variable is misspelt")[0], (LogLevel.warn, "the variable is misspelt"))

    def test_wrong_file(self) -> None:
        def ask() -> Resolved[Any]:
            raise SettingsErrors([SettingsError("f:1: a", None, "is wrong"), SettingsError("f:2: b", "x", "too")])

        said = self.reload(ask)
        start = "not reloaded, nothing changed: "
        self.assertEqual(said, [(LogLevel.error, start + "f:1: a: is wrong"), (LogLevel.error, start + 'f:2: b "x": too')])
        self.assertIs(self.service.settings, SETTINGS)

    def test_port_that_cannot_be_had(self) -> None:
        self.service.refusal = StartError("the entrypoint cannot listen on *:80: Permission denied")
        (said,) = self.reload(attrs.evolve(SETTINGS, drain=3.0))
        self.assertEqual(said[1], "not reloaded, nothing changed: the entrypoint cannot listen on *:80: Permission denied")
        self.assertEqual(self.process.drain, SETTINGS.drain)

    def test_error_of_ours(self) -> None:
        """Is logged with its traceback, and the process goes on."""

        def ask() -> Resolved[Any]:
            raise ZeroDivisionError

        self.assertEqual(self.reload(ask)[0][1], "error while reloading")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
