"""The options of ``rtunnel dev``: those of a client that joins one tunnel, and what the command gets of the pod."""

from __future__ import annotations

from typing import Final

import attrs

from rtunnel.options import kinds
from rtunnel.options.kinds import Kind
from rtunnel.options.local_ports import FORWARD, LOOPBACK
from rtunnel.options.table import CLIENT, Option, find

__all__ = ["DEV", "DEV_OWN", "DEV_VARIABLES"]

_NOT_FOR_ONE = frozenset(
    (
        # of a pod
        *("role", "reach", "env-source", "env-allow", "env-allow-secret", "env-deny", "files"),
        # of clients that serve for a long time, or many at once
        *("join", "bind", "admin", "no-admin-socket", "max-streams", "udp-idle", "udp-associations"),
        # it has a file of its own
        "config",
        *("L", "F"),
    )
)
"""The options of a client that have no use here, or another meaning."""


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not name.isprintable() or "\0" in value:
        raise ValueError("no pair; write NAME=VALUE")
    return name, value


def _name(text: str) -> str:
    if not text or not text.isprintable() or "=" in text:
        raise ValueError("not the name of a variable")
    return text


def _word(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a null byte, which no command line can have")
    return text


def _show_pair(pair: tuple[str, str]) -> str:
    return "=".join(pair)


VALUES = Kind("NAME=VALUE", _pair, _show_pair, lines=True)
NAMES = Kind("NAME=NEW", _pair, _show_pair)
VARIABLE = Kind("NAME", _name)
FILES = Kind("auto|DIR|off", str)
ISOLATE = Kind("auto|names|net|none", str)
WORD = Kind("COMMAND", _word, lines=True)

DEV_OWN: Final = (
    attrs.evolve(
        find(CLIENT, "config"),
        help="file with everything that options can say (docs/dev.md); by default rtunnel.dev.yaml, if it is there",
    ),
    Option("host", kinds.HOST, "pod_host", "the host that you work on: one of the server's rules, or a profile"),
    Option(
        "include",
        kinds.NAME_PATTERNS,
        "env.include",
        "take only these variables of the pod; * is any text",
        many=True,
        one_key=True,
    ),
    Option("exclude", kinds.NAME_PATTERNS, "env.exclude", "do not take these variables of the pod", many=True, one_key=True),
    Option("rename", NAMES, "env.rename", "another name for a variable of the pod", many=True, one_key=True),
    Option("set", VALUES, "env.sets", "a variable before all others", many=True, one_key=True),
    Option("unset", VARIABLE, "env.unset", "a variable that is left out, or removed", many=True, one_key=True),
    Option("env-file", kinds.FILE, "env.file", "variables of a dotenv file, before those of the pod"),
    Option("local-wins", kinds.SWITCH, "env.local_wins", "leave variables alone that are set here"),
    Option(
        "files",
        FILES,
        "copied_files",
        "where the pod's files are for the command: auto for their own paths where that is possible, else a private folder, "
        "which RTUNNEL_RUN_ROOT names; a directory of yours; or off",
    ),
    Option(
        "cover",
        kinds.PATH,
        "cover",
        "have the pod's files at this path for the command, although something is there on this machine",
        many=True,
        one_key=True,
    ),
    Option("restart-on-change", kinds.SWITCH, "restart_on_change", "start the command anew when files of the pod have changed"),
    Option(
        "proxy",
        LOOPBACK,
        "reach.proxy",
        "local port of a proxy, for SOCKS5, SOCKS4a and HTTP, that leads to what the pod reaches; a proxy on the way to the server "
        "is given with --proxy-file or RTUNNEL_PROXY",
    ),
    Option(
        "forward",
        FORWARD,
        "reach.forwards",
        "local port that leads to one destination that the pod reaches, e.g. 5432:postgres:5432",
        many=True,
    ),
    Option(
        "isolate",
        ISOLATE,
        "isolate",
        "what the command has of its own: names of the cluster and files of the pod (names), a network as well (net), nothing "
        "(none), or what this machine allows (auto)",
    ),
    Option(
        "publish",
        kinds.NUMBER,
        "publish",
        "port of the command that is open from the start where it has a network of its own; others open when it listens",
        many=True,
        one_key=True,
    ),
    Option("run", WORD, "run", "the command and its arguments", many=True, one_key=True),
    Option("no-wait", kinds.NOT, "wait", "start the command at once, and not when the requests come here"),
    Option("output", kinds.FILE, "output", "write the command's output to a file, and show a live screen on the terminal"),
    Option("plain", kinds.SWITCH, "plain", "plain lines also where there could be a live screen"),
)
"""Those that no client has, or that mean something else here; none of them is a variable of the environment."""

DEV_VARIABLES: Final = tuple(option for option in CLIENT if option.name not in _NOT_FOR_ONE)
"""Those of a client, as variables of the environment, too."""
DEV: Final = (*DEV_OWN, *(option for option in DEV_VARIABLES if option.name != "proxy"))
