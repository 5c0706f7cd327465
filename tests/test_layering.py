"""The rooms of the package import one way only; this reads every import, without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

SOURCES = Path(__file__).parent.parent / "src"

# What each room may import of ours, besides itself. What is not listed is the front of the house (tap, reload, __main__): it may
# import everything, and no room imports it.
BELOW: dict[str, set[str]] = {
    "wire": {"ids"},
    "routing": {"ids"},
    "reactor_types": set(),
    "private_details": set(),
    "reactor": {"reactor_types", "private_details"},
    "outcomes": set(),
    "ids": set(),
    "compilation": set(),
    "masking": {"ids"},
    "addresses": set(),
    "settings": {"ids", "masking", "routing"},
    "options": {"ids", "routing", "settings"},
    "urls": {"masking", "settings", "options"},
    "config": {"ids", "masking", "settings", "options", "urls"},
    "profiles": {"ids", "settings", "options", "config", "podenv"},
    "reference": {"ids", "options", "cli"},
    "roles": {"ids", "settings", "options", "urls", "config", "profiles", "metrics", "ops"},
    "metrics": {"outcomes", "ids"},
    "ops": {"outcomes", "ids", "settings", "transport"},
    "auth": {"outcomes", "ids", "addresses", "routing", "settings", "ops"},
    "transport": {"reactor_types", "private_details", "outcomes", "ids", "addresses", "wire"},
    "registry": {"ids", "metrics", "settings"},
    "tunnel": {"reactor_types", "outcomes", "ids", "wire", "transport"},
    "server": {
        "reactor_types",
        "outcomes",
        "ids",
        "masking",
        "addresses",
        "wire",
        "routing",
        "transport",
        "tunnel",
        "registry",
        "settings",
        "metrics",
        "ops",
        "auth",
    },
    "client": {
        "podenv",
        "podfiles",
        "reactor_types",
        "outcomes",
        "ids",
        "addresses",
        "wire",
        "routing",
        "transport",
        "tunnel",
        "settings",
        "metrics",
        "ops",
    },
    "cli": {"ids", "masking", "settings", "options", "roles", "ops"},
    "status": {"ids", "settings", "ops", "cli"},
    "demo": set(),
    "inject": set(),
    "podenv": {"ids", "routing"},
    "podfiles": set(),
    "isolation": set(),
    "running": {
        *("cli", "client", "isolation", "ops", "podenv", "podfiles", "routing", "settings", "transport", "tunnel", "wire"),
    },
    "doctor": {
        *("compilation", "ids", "settings", "options", "profiles", "isolation", "running", "cli", "ops", "asking", "wire"),
    },
    "asking": {
        "podenv",
        "ids",
        "settings",
        "options",
        "profiles",
        "roles",
        "ops",
        "cli",
        "status",
        "client",
        "wire",
        "transport",
        "tunnel",
    },
    "dev": {
        "asking",
        "cli",
        "client",
        "config",
        "ids",
        "isolation",
        "options",
        "ops",
        "podenv",
        "roles",
        "running",
        "settings",
        "status",
        "wire",
    },
    "commands": {
        "compilation",
        "dev",
        "doctor",
        "isolation",
        "running",
        "podenv",
        "podfiles",
        "asking",
        "wire",
        "ids",
        "settings",
        "options",
        "config",
        "profiles",
        "reference",
        "routing",
        "roles",
        "ops",
        "auth",
        "server",
        "client",
        "cli",
        "status",
        "demo",
        "inject",
        "registry",
        "workers",
    },
}

# Imports that close a circle of modules, each with the reason why it may. An entry that closes none any more has to go.
CIRCLES: dict[tuple[str, str], str] = {
    ("rtunnel.tunnel.stream", "rtunnel.tunnel.link"): "parent and child: a stream is nothing without its link",
}

# Rooms without I/O and without a clock of their own, and what would bring one in.
PURE = {"wire", "routing"}
IMPURE = {
    "asyncio",
    "autobahn",
    "datetime",
    "http.client",
    "select",
    "selectors",
    "socket",
    "socketserver",
    "ssl",
    "subprocess",
    "threading",
    "time",
    "twisted",
    "txaio",
    "urllib.request",
    "websockets",
}

AUTOBAHN = {"autobahn", "txaio"}
AUTOBAHN_HOMES = ("rtunnel.transport.websocket_autobahn", "rtunnel.transport.websocket_mask")

REACTOR = "twisted.internet.reactor"
REACTOR_HOMES = {"rtunnel.tap", "rtunnel.__main__", "rtunnel.workers.__main__"}


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every import; ``from a import b`` is ``a.b``, since ``b`` may be a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            for alias in node.names:
                yield node.lineno, f"{start}.{alias.name}"


def room(name: str) -> str:
    """Return the room of a module of ours: ``rtunnel.wire.smux.Session`` belongs to ``wire``."""
    return name.split(".")[1] if "." in name else ""


def within(name: str, packages: set[str]) -> bool:
    """Tell whether a dotted name is one of some packages, or inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def complaint(module: str, name: str) -> str | None:
    """Say what is wrong with an import of ``name`` in ``module`` (dotted names), None when it is allowed."""
    here = room(module)
    if name.startswith("."):
        return "is relative: write the whole name, so that the direction can be seen"
    if within(name, {"rtunnel"}):
        there = room(name)
        allowed = here not in BELOW or there in BELOW[here] | {here, "", "__version__"}
        return None if allowed else f"goes the wrong way: {here} may import only {sorted(BELOW[here]) or 'itself'}"
    if here in PURE and within(name, IMPURE):
        return f"brings I/O or a clock into {here}"
    if within(name, AUTOBAHN) and module not in AUTOBAHN_HOMES:
        return f"belongs into {AUTOBAHN_HOMES[0]}"
    if name == REACTOR and module not in REACTOR_HOMES and within(module, {"rtunnel"}):
        return "takes the global reactor: have it passed in"
    return None


def complaints(module: str, source: str) -> list[str]:
    """Read a module and return one line for each import that breaks a rule."""
    found = ((line, name, complaint(module, name)) for line, name in imported(source))
    return [f"{module}:{line}: import of {name} {wrong}" for line, name, wrong in found if wrong]


def modules() -> Iterator[tuple[str, str]]:
    """Yield name and source of each module of the package and each plugin."""
    for path in sorted(SOURCES.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path.read_text(encoding="utf-8")


def graph(sources: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return which module imports which of the others, late and guarded imports too, as pairs of dotted names."""
    edges = set()
    for module, source in sources.items():
        for _, name in imported(source):
            target = name
            while target and target not in sources:
                target = target.rpartition(".")[0]
            if target not in ("", module):
                edges.add((module, target))
    return edges


def circular(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the imports that are part of a circle."""
    below: dict[str, set[str]] = {}
    for module, name in edges:
        below.setdefault(module, set()).add(name)

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = below.get(ahead.pop(), set()) - seen
            seen |= new
            ahead += new
        return seen

    return {(module, name) for module, name in edges if module in reached(name)}


class LayeringTests(SynchronousTestCase):
    """The package as it is."""

    def test_imports_run_one_way(self) -> None:
        self.assertEqual([line for name, source in modules() for line in complaints(name, source)], [])

    def test_every_room_was_read(self) -> None:
        self.assertLessEqual(set(BELOW), {room(name) for name, _ in modules()})

    def test_no_circles(self) -> None:
        """Also among the modules of one room."""
        self.assertEqual(circular(graph(dict(modules())) - set(CIRCLES)), set())

    def test_every_circle_is_still_there(self) -> None:
        edges = graph(dict(modules()))
        needless = {edge for edge in CIRCLES if edge not in circular(edges - (set(CIRCLES) - {edge}))}
        self.assertEqual(needless, set())


class ComplaintTests(SynchronousTestCase):
    """The rules themselves: what they refuse and what they allow."""

    def refused(self, module: str, source: str, words: str) -> None:
        lines = complaints(module, source)
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(words, lines[0])

    def allowed(self, module: str, source: str) -> None:
        self.assertEqual(complaints(module, source), [])

    def test_pure_rooms(self) -> None:
        self.refused("rtunnel.wire.smux", "import socket", "I/O")
        self.refused("rtunnel.wire.smux", "from twisted.internet import defer", "I/O")
        self.refused("rtunnel.routing.tunnels", "from time import monotonic", "clock")
        self.allowed("rtunnel.routing.tunnels", "import random\nfrom uuid import UUID")

    def test_pure_rooms_do_not_know_each_other(self) -> None:
        self.refused("rtunnel.wire.relay", "import rtunnel.routing.ingress", "wrong way")
        self.refused("rtunnel.routing.ingress", "from rtunnel.wire.smux import Session", "wrong way")

    def test_server_and_client_are_strangers(self) -> None:
        self.refused("rtunnel.server.service", "from rtunnel.client import connector", "wrong way")
        self.refused("rtunnel.client.service", "from rtunnel import server", "wrong way")

    def test_down_is_fine(self) -> None:
        self.allowed("rtunnel.server.entrypoint.http1", "from rtunnel.tunnel.link import Link\nimport rtunnel.metrics.stats")
        self.allowed("rtunnel.tap", "from rtunnel.server.service import ServerService\nimport rtunnel.client.service")
        self.allowed("rtunnel.server.entrypoint.answers", "from rtunnel import __version__")

    def test_up_is_not(self) -> None:
        self.refused("rtunnel.tunnel.link", "from rtunnel.server.listener import Listener", "wrong way")
        self.refused("rtunnel.server.service", "from rtunnel.tap import Options", "wrong way")
        self.refused("rtunnel.ops.admin", "from rtunnel.client.service import ClientService", "wrong way")

    def test_late_and_guarded_imports_count(self) -> None:
        self.refused("rtunnel.client.a", "def f():\n    import rtunnel.server.b", "wrong way")
        self.refused("rtunnel.client.a", "if TYPE_CHECKING:\n    import rtunnel.server.b", "wrong way")

    def test_relative(self) -> None:
        self.refused("rtunnel.wire.smux", "from . import relay", "relative")

    def test_autobahn(self) -> None:
        self.refused("rtunnel.client.connector", "import autobahn.twisted.websocket", "belongs into")
        self.allowed("rtunnel.transport.websocket_autobahn", "from autobahn.twisted.websocket import WebSocketServerFactory")

    def test_global_reactor(self) -> None:
        self.refused("rtunnel.client.connector", "from twisted.internet import reactor", "global reactor")
        self.allowed("rtunnel.tap", "from twisted.internet import reactor")
        self.allowed("twisted.plugins.rtunnel_plugin", "from twisted.internet import reactor")


class CircleTests(SynchronousTestCase):
    """How circles are found."""

    SOURCES: ClassVar[dict[str, str]] = {
        "r": "",
        "r.a": "import r.b.c",
        "r.b": "import os",
        "r.b.c": "from r.d import Thing",
        "r.d": "if TYPE_CHECKING:\n    from r import a",
        "r.e": "def late():\n    from r.b import c\n    import r.e",
    }

    def test_graph(self) -> None:
        edges = {("r.a", "r.b.c"), ("r.b.c", "r.d"), ("r.d", "r.a"), ("r.e", "r.b.c")}
        self.assertEqual(graph(self.SOURCES), edges)

    def test_circular(self) -> None:
        self.assertEqual(circular(graph(self.SOURCES)), {("r.a", "r.b.c"), ("r.b.c", "r.d"), ("r.d", "r.a")})

    def test_one_import_less(self) -> None:
        self.assertEqual(circular(graph(self.SOURCES) - {("r.d", "r.a")}), set())
