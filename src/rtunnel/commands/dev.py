"""``rtunnel dev``: the requests of a host come here, and a command gets what its pod has (:mod:`rtunnel.dev`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from twisted.logger import Logger

from rtunnel.cli.exit_status import CommandError
from rtunnel.dev.arguments import make_parser, parse
from rtunnel.ops.clock import use_monotonic_clock
from rtunnel.ops.logs import show_from
from rtunnel.roles.exposure import exposures

__all__ = ["main", "make_parser"]

_log = Logger()


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Run it until the command ends, or without one until it is interrupted; returns the exit status."""
    resolved = parse(argv, os.environ)
    settings = resolved.settings
    if sys.platform == "win32":
        raise CommandError("runs on Linux and macOS only; on Windows use rtunnel client, rtunnel env and rtunnel reach")
    show_from(settings.client.log_level)
    for warning in (*resolved.warnings, *exposures(settings.client)):
        _log.warn("{text}", text=warning)
    # late, so that --help need not wait for the WebSocket library
    from rtunnel.dev.session import DevSession

    use_monotonic_clock(reactor)
    return await DevSession(settings, reactor).run()
