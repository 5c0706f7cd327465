"""gost v3 (``RTUNNEL_BENCH_GOST``), tunnel over WebSocket, plain or with TLS."""

from __future__ import annotations

from bench.stage import CLIENT, HOST, SERVER, VISITOR, Stage
from bench.systems.base import TUNNEL, Ability, Setup, first_line, program, variable_missing
from bench.systems.tunnel import PATH, TunnelSystem

_VARIABLE = "RTUNNEL_BENCH_GOST"

#: By default gost writes a line for every request.
_QUIET = {"GOST_LOGGER_LEVEL": "error"}


class Gost(TunnelSystem):
    """gost's server and client.

    :param keepalive: whether the entrypoint keeps streams for the next request (``entrypoint.keepalive``).
    """

    can = frozenset({Ability.PAIR})
    #: Under the tunnel.
    transport = "ws"

    def __init__(self, name: str, title: str, keepalive: bool = False) -> None:
        super().__init__(name, title)
        self._keepalive = "&entrypoint.keepalive=true" if keepalive else ""

    def absent(self) -> str | None:
        return variable_missing(_VARIABLE)

    def version(self) -> str:
        return first_line([program(_VARIABLE), "-V"])

    def start_server(self, setup: Setup, stage: Stage, tunnel_port: int, entry_port: int) -> None:
        query = f"entrypoint=127.0.0.1:{entry_port}&tunnel=bench.local:{TUNNEL}&path={PATH}{self._keepalive}"
        stage.start(SERVER, [program(_VARIABLE), "-L", f"tunnel+{self.transport}://127.0.0.1:{tunnel_port}?{query}"], _QUIET)

    def start_clients(self, setup: Setup, stage: Stage, tunnel_port: int) -> None:
        for target in setup.targets:
            argv = [program(_VARIABLE), "-L", f"{'rudp' if setup.datagrams else 'rtcp'}://:0/127.0.0.1:{target}"]
            stage.start(CLIENT, [*argv, "-F", f"{self._server(tunnel_port)}&tunnel.weight=1"], _QUIET)

    def start_visitor(self, setup: Setup, stage: Stage, tunnel_port: int, port: int) -> None:
        argv = [
            program(_VARIABLE),
            "-L",
            f"{'udp' if setup.datagrams else 'tcp'}://127.0.0.1:{port}/{HOST}",
            "-F",
            self._server(tunnel_port),
        ]
        stage.start(VISITOR, argv, _QUIET)

    def _server(self, tunnel_port: int) -> str:
        return f"tunnel+{self.transport}://127.0.0.1:{tunnel_port}?path={PATH}&tunnel.id={TUNNEL}"


class GostWss(Gost):
    """The same over WebSocket with TLS, beside ours: its server makes a certificate itself, its client verifies none."""

    cases = frozenset({"k1", "k64", "down", "up"})
    transport = "wss"
