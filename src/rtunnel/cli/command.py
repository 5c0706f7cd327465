"""The kinds of commands, and how a command of each kind runs.

A command is a row in the table of :mod:`rtunnel.commands` and a module of its name there, which is imported when the command runs:
``rtunnel status`` needs to know nothing of servers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from rtunnel.cli.exit_status import CommandError

if TYPE_CHECKING:
    from rtunnel.cli.arguments import Parser
    from rtunnel.cli.service_options import ServiceOptions

__all__ = ["Command", "PlainCommand", "ReactorCommand", "ServiceCommand"]


@attrs.frozen
class Command:
    """What every command has.

    :ivar name: the word after ``rtunnel``, and the name of the module, there with ``_`` for ``-``.
    :ivar summary: what it does, one line for ``rtunnel --help``.
    :ivar package: where the module is.
    """

    name: str
    summary: str
    package: str = attrs.field(default="rtunnel.commands", kw_only=True)

    def parser(self) -> Parser:
        """What parses its arguments; not for a :class:`ServiceCommand`."""
        module: ParsingModule = self._import()
        return module.make_parser()

    def _import(self) -> Any:
        return import_module(f"{self.package}.{self.name.replace('-', '_')}")

    def _report(self, run: Callable[[], int]) -> int:
        """Run the command, and print why it failed."""
        try:
            return run()
        except CommandError as error:
            for line in str(error).splitlines():
                print(line if line.startswith(" ") else f"rtunnel {self.name}: {line}", file=sys.stderr)
            return error.status


class ParsingModule(Protocol):
    """The module of a command that parses its arguments with :mod:`argparse`."""

    def make_parser(self) -> Parser:
        """What parses its arguments; help, manual pages and the completion of shells are made of it, too."""


class PlainModule(ParsingModule, Protocol):
    """The module of a :class:`PlainCommand`."""

    def main(self, argv: Sequence[str]) -> int:
        """Run the command.

        :param argv: the arguments after its name.
        :returns: the exit status.
        :raises CommandError: it cannot do what it was asked to do.
        :raises SystemExit: ``--help`` was given, or wrong arguments.
        """


@attrs.frozen
class PlainCommand(Command):
    """A command that ends by itself and needs no reactor."""

    def run(self, argv: Sequence[str]) -> int:
        """Run it; returns the exit status."""
        module: PlainModule = self._import()
        return self._report(lambda: module.main(argv))


class ReactorModule(ParsingModule, Protocol):
    """The module of a :class:`ReactorCommand`."""

    def main(self, argv: Sequence[str], reactor: Any) -> Coroutine[Any, Any, int]:
        """Run the command, as a coroutine that awaits Deferreds.

        It is cancelled by SIGTERM and Ctrl-C. What it logs goes to stderr; stdout is for its output.

        :param argv: the arguments after its name.
        :returns: the exit status.
        :raises CommandError: it cannot do what it was asked to do.
        :raises SystemExit: ``--help`` was given, or wrong arguments.
        """


@attrs.frozen
class ReactorCommand(Command):
    """A command that works on the reactor and ends by itself, or with a child process (:mod:`rtunnel.running`)."""

    def run(self, argv: Sequence[str], reactor: Any) -> int:
        """Run it and the reactor, which is not running yet; returns the exit status."""
        from rtunnel.cli.on_reactor import run_on_reactor

        module: ReactorModule = self._import()
        return self._report(lambda: run_on_reactor(lambda: module.main(argv, reactor), reactor))


class ServiceModule(Protocol):
    """The module of a :class:`ServiceCommand`."""

    Options: type[ServiceOptions]
    """Parses the command's options and makes the service."""


@attrs.frozen
class ServiceCommand(Command):
    """A command that runs under twistd until a signal ends it (:mod:`rtunnel.tap`)."""

    def options(self) -> type[ServiceOptions]:
        """The class that parses its options."""
        module: ServiceModule = self._import()
        return module.Options
