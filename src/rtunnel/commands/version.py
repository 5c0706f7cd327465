"""``rtunnel version``: which rtunnel this is, and what it runs on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version

import rtunnel
from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.compilation import how_it_runs

__all__ = ["main", "make_parser"]

_LIBRARIES = ("Twisted", "autobahn")


def main(argv: Sequence[str]) -> int:
    """Print the version, for reports of bugs with those of what it runs on; returns the exit status."""
    make_parser().parse_args(argv)
    print(f"rtunnel {rtunnel.__version__}")
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    print(f"Python {platform.python_version()}, {libraries}, {platform.system()} {platform.machine()}, {how_it_runs()}")
    return ExitStatus.OK


def make_parser() -> Parser:
    """Its arguments."""
    return Parser("version", description="Shows the version of rtunnel, and of what it runs on.", epilog="")
