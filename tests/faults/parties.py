"""Whose programs play which role: ours, a gost's (``RTUNNEL_TEST_GOST``), an older rtunnel (``RTUNNEL_BENCH_BEFORE``)."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping

from attrs import field, frozen

__all__ = ["BEFORE", "OURS", "Party", "parties"]


@frozen
class Party:
    """The programs of one column.

    :param name: as the tables show it.
    :param server: the words that start the server, before its options.
    :param client: the same of the clients.
    :param options: whether the server takes the options of this version.
    """

    name: str
    server: tuple[str, ...]
    client: tuple[str, ...]
    options: bool = True
    env: Mapping[str, str] = field(factory=dict)


def _rtunnel(python: str, role: str) -> tuple[str, ...]:
    return (python, "-m", "rtunnel", role)


BEFORE = "before"
"""The name of an older rtunnel."""
OURS = Party("rtunnel", _rtunnel(sys.executable, "server"), _rtunnel(sys.executable, "client"))


def parties(environ: Mapping[str, str] = os.environ) -> list[Party]:
    """All that the environment has programs for, ours first."""
    found = [OURS]
    if gost := shutil.which(environ.get("RTUNNEL_TEST_GOST", "")):
        # by default gost writes a line for every request
        quiet = {"GOST_LOGGER_LEVEL": "error"}
        found.append(Party("gost's clients", OURS.server, (gost,), env=quiet))
        found.append(Party("gost", (gost,), (gost,), options=False, env=quiet))
    if before := shutil.which(environ.get("RTUNNEL_BENCH_BEFORE", "")):
        found.append(Party(BEFORE, _rtunnel(before, "server"), _rtunnel(before, "client"), options=False))
    return found
