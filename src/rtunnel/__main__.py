"""``rtunnel ...`` and ``python -m rtunnel ...``: argv becomes a run of twistd in the foreground.

What twistd would leave behind in the working directory, a pidfile, is not written; the log is the short one of
:mod:`rtunnel.ops.logs`; and the reactor is our own where it can be (:mod:`rtunnel.reactor`).
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

import rtunnel
from rtunnel.options import help as option_help
from rtunnel.options.environment import REACTOR

__all__ = ["main"]

_TWISTD = ("--nodaemon", "--pidfile=", "--logger=rtunnel.ops.logs.human", "rtunnel")

_AT_ONCE = {
    "check": "rtunnel.check",
    "convert": "rtunnel.convert",
    "demo": "rtunnel.demo",
    "schema": "rtunnel.schema",
    "status": "rtunnel.status",
    "user": "rtunnel.auth.command",
}
"""The commands that end by themselves and need no reactor here: each has a ``main``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    :param argv: the arguments without the program's name; ``None`` takes them from the process.
    :returns: the exit status.
    :raises SystemExit: the command line cannot be had, or the command ended the process itself.
    """
    try:
        return _main(list(sys.argv[1:] if argv is None else argv), os.environ)
    except KeyboardInterrupt:
        return 130


def _main(argv: list[str], environ: Mapping[str, str]) -> int:
    reactor = environ.get(REACTOR) or None
    while argv and argv[0].startswith("-"):
        flag, equals, value = argv.pop(0).partition("=")
        if flag in ("--help", "-h") and not equals:
            print(option_help.command_help(runner=True), end="")
            return 0
        if flag == "--version" and not equals:
            print(f"rtunnel {rtunnel.__version__}")
            return 0
        if flag != "--reactor":
            sys.exit(f'rtunnel: {flag}: is no known option before the command; "rtunnel --help" lists them')
        if not equals and not argv:
            sys.exit("rtunnel: --reactor: needs a value after it")
        reactor = value if equals else argv.pop(0)
    if argv and argv[0] in _AT_ONCE:
        command = import_module(_AT_ONCE[argv[0]])
        return command.main(argv[1:]) or 0
    _install(reactor)
    return _run_twistd(argv)


def _install(name: str | None) -> None:
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
        sys.exit(f'rtunnel: --reactor "{name}": is no known reactor; there are {names}')
    except Exception as error:
        sys.exit(f'rtunnel: --reactor "{name}": cannot be used here: {error}')


def _run_twistd(argv: list[str]) -> int:
    from twisted.scripts import twistd

    sys.argv[1:] = [*_TWISTD, *argv]
    twistd.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
