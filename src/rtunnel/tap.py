"""The plugin for twistd and twist: options in, a service out.

The only module that knows the global reactor (the ``rtunnel`` command, which chooses it, apart). Making the service touches no
network and logs nothing, because twistd has no log yet and may still change the user and fork.
"""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, NoReturn

from twisted.python import usage

import rtunnel
from rtunnel.cli import RawOption, Resolved, load_client, load_server, load_visitor
from rtunnel.ops.process import ProcessService
from rtunnel.ops.systemd import Notifier, NotifyService
from rtunnel.options import help as option_help
from rtunnel.options import kinds
from rtunnel.options.table import CLIENT, SERVER, VISITOR, Option
from rtunnel.reload import Reloader
from rtunnel.settings import Address, ClientSettings, ServerSettings, SettingsError

__all__ = ["ClientOptions", "Options", "ServerOptions", "VisitorOptions", "makeService"]


class _Options(usage.Options):
    """Options that refuse in one line on stderr and with status 1, where twistd would print all its usage."""

    title: ClassVar[str] = "rtunnel"

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            self.refuse(self.explain(error))
        except SettingsError as error:
            self.refuse(error)

    def refuse(self, error: SettingsError) -> NoReturn:
        """End the process."""
        sys.exit("\n".join(f"{self.title}: {line}" for line in str(error).splitlines()))

    def explain(self, error: usage.UsageError) -> SettingsError:
        """What Twisted's words mean, with the nearest name that exists."""
        cause = error.__context__
        if not isinstance(cause, getopt.GetoptError):
            return SettingsError(self.title, None, str(error))
        flag = f"--{cause.opt}" if len(cause.opt) > 1 else f"-{cause.opt}"
        if "not recognized" in cause.msg:
            return SettingsError(flag, None, self.unknown(cause.opt))
        if "requires argument" in cause.msg:
            return SettingsError(flag, None, "needs a value after it")
        if "must not have an argument" in cause.msg:
            return SettingsError(flag, None, "is a switch and takes no value")
        return SettingsError(flag, None, "could mean several options; write it in full")

    def unknown(self, name: str) -> str:
        """What to say of an option that does not exist."""
        # nothing is near to a single letter
        known = self.longOpt if len(name) > 1 else ()
        return _did_you_mean("option", f"--{name}", [f"--{option.removesuffix('=')}" for option in known])

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise SettingsError(rest[0], None, 'is no option; options begin with "--", and "--help" lists them')

    def opt_help(self) -> NoReturn:
        """Show this help and end."""
        print(self, end="")
        sys.exit(0)

    opt_h = opt_help

    def opt_version(self) -> NoReturn:
        """Show the version and end."""
        print(f"rtunnel {rtunnel.__version__}")
        sys.exit(0)


def _did_you_mean(what: str, name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), 1)
    return f"is no known {what}; " + (f"did you mean {close[0]}?" if close else '"--help" lists them all')


def _taking(option: Option) -> Callable[..., None]:
    """A method of Twisted's kind for one option."""

    def take(self: _CommandOptions, text: str) -> None:
        self.typed.append((option, option.flag, text))

    def switch(self: _CommandOptions) -> None:
        self.typed.append((option, option.flag, "true"))

    def refuse(self: _CommandOptions, text: str) -> None:
        hint = f"everybody can read a command line; use {option.flag}-file or the variable {option.variable}"
        raise SettingsError(option.flag, None, hint)

    method: Callable[..., None] = refuse if option.secret else take if option.kind.metavar else switch
    method.__doc__ = option.help
    return method


class _CommandOptions(_Options):
    """The options of one command: every row of its table as an option, and the settings that come of them.

    :ivar typed: what stood on the command line, in its order.
    :ivar asked: the settings, once parsed.
    """

    rows: ClassVar[tuple[Option, ...]] = ()
    other: ClassVar[tuple[str, tuple[Option, ...]]]

    asked: Resolved[Any]

    def __init_subclass__(cls) -> None:
        for option in cls.rows:
            method = _taking(option)
            setattr(cls, f"opt_{option.name.replace('-', '_')}", method)
            if option.short:
                setattr(cls, f"opt_{option.short}", method)

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.typed: list[RawOption] = []

    def postOptions(self) -> None:
        self.asked = self.ask(self.typed, os.environ)
        # a daemon may change its working directory before it reads them again
        self.typed = [
            (option, key, os.path.abspath(text) if option.kind is kinds.FILE else text) for option, key, text in self.typed
        ]

    def ask_again(self) -> Resolved[Any]:
        """The settings as the same words ask for them now: out of the files as they are."""
        return self.ask(self.typed, os.environ)

    def ask(self, typed: Sequence[RawOption], environ: Mapping[str, str]) -> Resolved[Any]:
        """The settings that were asked for."""
        raise NotImplementedError

    def unknown(self, name: str) -> str:
        command, rows = self.other
        if name in {option.name for option in rows}:
            return f'belongs to "{command}"; {self.title} has no such thing'
        return super().unknown(name)


class ServerOptions(_CommandOptions):
    """``rtunnel server``."""

    title = "rtunnel server"
    rows = SERVER
    other = ("rtunnel client", CLIENT)

    def ask(self, typed: Sequence[RawOption], environ: Mapping[str, str]) -> Resolved[ServerSettings]:
        return load_server(typed, environ)

    def __str__(self) -> str:
        return option_help.server_help()


class ClientOptions(_CommandOptions):
    """``rtunnel client``."""

    title = "rtunnel client"
    rows = CLIENT
    other = ("rtunnel server", SERVER)

    def ask(self, typed: Sequence[RawOption], environ: Mapping[str, str]) -> Resolved[ClientSettings]:
        return load_client(typed, environ)

    def __str__(self) -> str:
        return option_help.client_help()


class VisitorOptions(_CommandOptions):
    """``rtunnel visitor``."""

    title = "rtunnel visitor"
    rows = VISITOR
    other = ("rtunnel client", CLIENT)

    def ask(self, typed: Sequence[RawOption], environ: Mapping[str, str]) -> Resolved[ClientSettings]:
        return load_visitor(typed, environ)

    def __str__(self) -> str:
        return option_help.visitor_help()


class Options(_Options):
    """``rtunnel``: which command."""

    subCommands: ClassVar[list[tuple[str, None, type[_CommandOptions], str]]] = [
        ("server", None, ServerOptions, "accept clients and visitors"),
        ("client", None, ClientOptions, "join a tunnel and pass its requests to a local service"),
        ("visitor", None, VisitorOptions, "open a local port that leads to a private tunnel"),
    ]

    def explain(self, error: usage.UsageError) -> SettingsError:
        unknown = str(error).removeprefix("Unknown command: ")
        if unknown != str(error):
            return SettingsError(unknown, None, _did_you_mean("command", unknown, (row[0] for row in self.subCommands)))
        return super().explain(error)

    def postOptions(self) -> None:
        if self.subCommand is None:
            raise SettingsError("command", None, 'is missing; write "rtunnel server", or see "rtunnel --help"')

    def __str__(self) -> str:
        return option_help.command_help()


def makeService(options: Options) -> ProcessService:
    """The service of the command that was parsed; nothing is opened before it starts."""
    from twisted.internet import reactor

    asked: Resolved[Any] = options.subOptions.asked
    settings: ServerSettings | ClientSettings = asked.settings
    parent = ProcessService(reactor, settings.drain, asked.warnings)
    service = _service(settings, reactor)
    # what is added first starts first and stops last: probes before it, the word to systemd after it
    if settings.admin is not None:
        _admin(settings.admin, service, reactor, parent)
    service.setServiceParent(parent)
    notifier = Notifier.from_environment()
    parent.on_hang_up = Reloader(options.subOptions.ask_again, service, parent, notifier).reload
    if notifier is not None:
        NotifyService(notifier, when_ready=service.when_ready, reactor=reactor).setServiceParent(parent)  # type: ignore[no-untyped-call]
    return parent


# what follows imports late, so that --help and a refusal need not wait for the WebSocket library and the metrics


def _service(settings: ServerSettings | ClientSettings, reactor: Any) -> Any:
    if isinstance(settings, ServerSettings):
        from rtunnel.server.service import ServerService

        return ServerService(settings, reactor)
    from rtunnel.client.service import ClientService

    return ClientService(settings, reactor)


def _admin(address: Address, service: Any, reactor: Any, parent: ProcessService) -> None:
    from rtunnel.metrics.exposition import ClientCollector, ServerCollector, make_registry
    from rtunnel.ops.admin import AdminService
    from rtunnel.ops.recent import RecentErrors
    from rtunnel.ops.status import ProcessStatus

    recent = RecentErrors()
    recent.setServiceParent(parent)  # type: ignore[no-untyped-call]
    collector = ServerCollector if isinstance(service.settings, ServerSettings) else ClientCollector
    admin = AdminService(
        address,
        ready=lambda: bool(service.ready),
        registry=make_registry(collector(service.stats, service.tunnel_stats)),
        status=ProcessStatus(service, recent).json,
        reactor=reactor,
    )
    admin.setServiceParent(parent)  # type: ignore[no-untyped-call]
