"""rtunnel itself, of this work tree or as installed."""

from __future__ import annotations

import importlib.util
import sys

from bench.service import project_environment
from bench.stage import BYSTANDER, CLIENT, SERVER, Stage
from bench.systems.base import TUNNEL, Ability, Setup, first_line, other_rules
from bench.systems.tunnel import PATH, TunnelSystem


class Rtunnel(TunnelSystem):
    """Both ends with default settings.

    :param reactor: name of a reactor; None leaves the choice to the program.
    """

    can = frozenset(Ability)

    def __init__(self, name: str, title: str, reactor: str | None = None) -> None:
        super().__init__(name, title)
        self._reactor = ["--reactor", reactor] if reactor else []

    def absent(self) -> str | None:
        return None if importlib.util.find_spec("rtunnel") else "the package rtunnel is not installed"

    def version(self) -> str:
        return first_line([sys.executable, "-m", "rtunnel", "--version"], env=project_environment())

    def start_server(self, setup: Setup, stage: Stage, tunnel_port: int, entry_port: int) -> None:
        rules = other_rules(max(setup.rules, setup.tunnels))
        if rules:
            # Too many for the query of one URL.
            argv = ["--listen", f"ws://127.0.0.1:{tunnel_port}{PATH}", "--entrypoint", f"127.0.0.1:{entry_port}"]
            for host, tunnel in [("bench.local", TUNNEL), *rules]:
                argv += ["--route", f"{host}={tunnel}"]
        else:
            query = f"entrypoint=127.0.0.1:{entry_port}&tunnel=bench.local:{TUNNEL}&path={PATH}"
            argv = ["-L", f"tunnel+ws://127.0.0.1:{tunnel_port}?{query}"]
        stage.start(SERVER, self._command("server", *argv), project_environment())

    def start_clients(self, setup: Setup, stage: Stage, tunnel_port: int) -> None:
        server = f"tunnel+ws://127.0.0.1:{tunnel_port}?tunnel.id={TUNNEL}&tunnel.weight=1&path={PATH}"
        for target in setup.targets:
            connectors = ["-L", f"rtcp://:0/127.0.0.1:{target}"] * setup.connectors
            stage.start(CLIENT, self._command("client", *connectors, "-F", server), project_environment())
        if setup.tunnels > 1:
            argv = [sys.executable, "-m", "bench.fleet", str(tunnel_port), str(setup.tunnels - 1)]
            stage.wait_words(stage.start(BYSTANDER, argv, project_environment()), "fleet ready")

    def _command(self, role: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "rtunnel", *self._reactor, role, *arguments]
