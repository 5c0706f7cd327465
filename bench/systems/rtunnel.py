"""rtunnel itself, of this work tree or as installed."""

from __future__ import annotations

import importlib.util
import sys

from bench.service import project_environment
from bench.stage import BYSTANDER, CLIENT, HOST, SERVER, VISITOR, Stage
from bench.systems.base import TUNNEL, Ability, Setup, first_line, other_rules
from bench.systems.tunnel import PATH, TunnelSystem


class Rtunnel(TunnelSystem):
    """Both ends with default settings.

    :param reactor: name of a reactor; None leaves the choice to the program.
    """

    # datagrams have no entrypoint, they need a visitor
    can = frozenset(Ability) - {Ability.DATAGRAMS}
    #: Under the tunnel, as in ``tunnel+ws``, and what it asks of each end, as keys of a URL or as options.
    transport = "ws"
    server_keys = ""
    server_options: tuple[str, ...] = ()
    client_keys = ""

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
            argv = ["--listen", f"{self.transport}://127.0.0.1:{tunnel_port}{PATH}", *self.server_options]
            argv += ["--entrypoint", f"127.0.0.1:{entry_port}"]
            for host, tunnel in [("bench.local", TUNNEL), *rules]:
                argv += ["--route", f"{host}={tunnel}"]
        else:
            query = f"entrypoint=127.0.0.1:{entry_port}&tunnel=bench.local:{TUNNEL}&path={PATH}{self.server_keys}"
            argv = ["-L", f"tunnel+{self.transport}://127.0.0.1:{tunnel_port}?{query}"]
        stage.start(SERVER, self._command("server", *argv), project_environment())

    def start_clients(self, setup: Setup, stage: Stage, tunnel_port: int) -> None:
        server = f"{self._server(tunnel_port)}&tunnel.weight=1"
        for target in setup.targets:
            connectors = ["-L", f"{'rudp' if setup.datagrams else 'rtcp'}://:0/127.0.0.1:{target}"] * setup.connectors
            stage.start(CLIENT, self._command("client", *connectors, "-F", server), project_environment())
        if setup.tunnels > 1:
            argv = [sys.executable, "-m", "bench.fleet", str(tunnel_port), str(setup.tunnels - 1)]
            stage.wait_words(stage.start(BYSTANDER, argv, project_environment()), "fleet ready")

    def start_visitor(self, setup: Setup, stage: Stage, tunnel_port: int, port: int) -> None:
        argv = self._command(
            "visitor", "-L", f"{'udp' if setup.datagrams else 'tcp'}://127.0.0.1:{port}/{HOST}", "-F", self._server(tunnel_port)
        )
        stage.start(VISITOR, argv, project_environment())

    def _server(self, tunnel_port: int) -> str:
        query = f"path={PATH}&tunnel.id={TUNNEL}{self.client_keys}"
        return f"tunnel+{self.transport}://127.0.0.1:{tunnel_port}?{query}"

    def _command(self, role: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "rtunnel", *self._reactor, role, *arguments]


class RtunnelWss(Rtunnel):
    """The same over WebSocket with TLS: measured where the bytes of the tunnel count.

    The certificate is not verified: it is made at the start of the server, and costs a handshake nothing worth measuring.
    """

    # the fleet speaks plain WebSocket
    can = Rtunnel.can - {Ability.TUNNELS}
    cases = frozenset({"k1", "k64", "down", "up"})
    transport = "wss"
    server_keys = "&selfSigned=true"
    server_options = ("--self-signed",)
    client_keys = "&secure=false"
