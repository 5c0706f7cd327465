"""``rtunnel ...`` and ``python -m rtunnel ...``: finds the command and runs it in the foreground.

A service is a run of twistd without the pidfile that it would leave in the working directory, with the short log of
:mod:`rtunnel.ops.logs`, and on our own reactor where there is epoll (:mod:`rtunnel.reactor`).
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Mapping, Sequence

import rtunnel
from rtunnel.cli.command import Command, PlainCommand, ReactorCommand
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.cli.help import command_help
from rtunnel.commands import COMMANDS, find
from rtunnel.options.environment import REACTOR

__all__ = ["install_reactor", "main"]

_TWISTD = ("--nodaemon", "--logger=rtunnel.ops.logs.human")
_NO_PIDFILE = ("--pidfile=",)
"""An option of twistd that it does not have on Windows, where it writes no such file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    :param argv: the arguments without the program's name; ``None`` takes them from the process.
    :returns: the exit status.
    :raises SystemExit: the arguments are wrong, or the command ended the process itself.
    """
    try:
        try:
            return _main(list(sys.argv[1:] if argv is None else argv), os.environ)
        finally:
            # here, where it is known what to do if that fails
            sys.stdout.flush()
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        # whoever read the output wants no more of it, as head; the end of the process would try to flush the rest once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.NOT_READ


def _main(argv: list[str], environ: Mapping[str, str]) -> int:
    reactor = environ.get(REACTOR) or None
    while argv and argv[0].startswith("-"):
        flag, equals, value = argv.pop(0).partition("=")
        if flag in ("--help", "-h") and not equals:
            print(command_help(COMMANDS, reactor=True), end="")
            return ExitStatus.OK
        if flag == "--version" and not equals:
            print(f"rtunnel {rtunnel.__version__}")
            return ExitStatus.OK
        if flag != "--reactor":
            sys.exit(f"rtunnel: {flag}: unknown option before the command; see rtunnel --help")
        if not equals and not argv:
            sys.exit("rtunnel: --reactor: needs a value")
        reactor = value if equals else argv.pop(0)
        # for the workers of a server
        os.environ[REACTOR] = reactor
    return _run(find(argv[0]) if argv else None, argv, reactor)


def _run(command: Command | None, argv: list[str], reactor: str | None) -> int:
    """Run a command; twistd runs those that are services, and refuses unknown ones."""
    if isinstance(command, PlainCommand):
        return command.run(argv[1:])
    install_reactor(reactor)
    if isinstance(command, ReactorCommand):
        from twisted.internet import reactor as installed

        return command.run(argv[1:], installed)
    return _run_twistd(argv)


def install_reactor(name: str | None) -> None:
    """Install the reactor, before anything imports the default one."""
    if name is None or name == "rtunnel":
        if hasattr(select, "epoll"):
            from rtunnel.reactor import install

            install()
            return
        if name is None:
            return
    from twisted.application.reactors import NoSuchReactor, getReactorTypes, installReactor

    try:
        installReactor(name)
    except NoSuchReactor:
        names = ", ".join(sorted(installer.shortName for installer in getReactorTypes()))
        sys.exit(f'rtunnel: --reactor "{name}": unknown reactor; choose one of {names}')
    except Exception as error:
        sys.exit(f'rtunnel: --reactor "{name}": cannot be used on this system: {error}')


def _run_twistd(argv: list[str]) -> int:
    from twisted.application import app
    from twisted.python.runtime import platformType
    from twisted.scripts import twistd

    from twisted.plugins.rtunnel_plugin import rtunnel as plugin

    class Options(twistd.ServerOptions):  # type: ignore[misc, name-defined]
        """twistd's, with our plugin alone: a search would import all plugins, and write what it found next to them."""

        loadedPlugins = {plugin.tapname: plugin}
        subCommands = [(plugin.tapname, None, plugin.options, plugin.description)]

    sys.argv[1:] = [*_TWISTD, *(() if platformType == "win32" else _NO_PIDFILE), plugin.tapname, *argv]
    app.run(twistd.runApp, Options)
    from rtunnel.ops.process import ProcessService

    return ProcessService.exit_status


if __name__ == "__main__":
    sys.exit(main())
