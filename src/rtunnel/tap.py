"""The plugin for twistd and twist: options in, a service out.

The only module with the global reactor, besides the ``rtunnel`` command, which chooses it. Making the service opens nothing and
logs nothing, because twistd has no log yet and may still change the user and fork.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from twisted.python import usage

from rtunnel.cli.command import ServiceCommand
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.cli.help import command_help
from rtunnel.cli.service_options import OneLineOptions, ServiceOptions, suggestion
from rtunnel.commands import COMMANDS, find
from rtunnel.ops.clock import use_monotonic_clock
from rtunnel.ops.log_limit import LogSummaries
from rtunnel.ops.logs import human, show_from
from rtunnel.ops.process import ProcessService
from rtunnel.ops.systemd import Notifier, NotifyService
from rtunnel.reload import Reloader
from rtunnel.roles.admin import add_admin
from rtunnel.settings import SettingsError

__all__ = ["Options", "makeService"]


class Options(OneLineOptions):
    """``rtunnel``, of whose commands twistd runs those that are services."""

    subCommands: ClassVar[list[tuple[str, None, type[ServiceOptions], str]]] = [
        (command.name, None, command.options(), command.summary) for command in COMMANDS if isinstance(command, ServiceCommand)
    ]

    def explain(self, error: usage.UsageError) -> SettingsError:
        name = str(error).removeprefix("Unknown command: ")
        if name == str(error):
            return super().explain(error)
        if find(name) is not None:
            return SettingsError(name, None, f'not a command of twistd; write "rtunnel {name}"')
        return SettingsError(name, None, f"unknown command; {suggestion(name, (command.name for command in COMMANDS))}")

    def postOptions(self) -> None:
        if self.subCommand is None:
            raise SettingsError("command", None, 'missing; write for example "rtunnel server", see --help')

    def __str__(self) -> str:
        return command_help(COMMANDS)


def makeService(options: Options) -> ProcessService:
    """The service of the command that was parsed; nothing is opened before it starts."""
    from twisted.internet import reactor

    use_monotonic_clock(reactor)
    parsed: ServiceOptions = options.subOptions
    settings = parsed.resolved.settings
    show_from(settings.log_level)
    parent = ProcessService(reactor, settings.drain, parsed.notices)
    if _logs_to_terminal(options.parent):
        parent.observer = human()
    service = parsed.make_service(reactor)
    # what is added first starts first and stops last: the admin endpoint before the service, systemd's notification after it
    LogSummaries(reactor).setServiceParent(parent)  # type: ignore[no-untyped-call]
    add_admin(parsed.role.name, settings, service, reactor, parent)
    service.setServiceParent(parent)
    notifier = Notifier.from_environment()
    service.on_over = partial(parent.end, ExitStatus.LEASE_ENDED)
    parent.on_hang_up = Reloader(parsed.resolve, service, parent, notifier).reload
    if notifier is not None:
        NotifyService(notifier, when_ready=service.when_ready, reactor=reactor).setServiceParent(parent)  # type: ignore[no-untyped-call]
    return parent


def _logs_to_terminal(twistd: Any) -> bool:
    """Whether twistd would write its own log to the terminal: then it is written as the ``rtunnel`` command does."""
    options = twistd if isinstance(twistd, usage.Options) else {}
    return bool(options.get("nodaemon")) and not any(options.get(name) for name in ("logfile", "logger", "syslog"))
