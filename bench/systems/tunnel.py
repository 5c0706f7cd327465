"""rtunnel and gost speak one protocol: each end of one can be joined to the other end of the other."""

from __future__ import annotations

from abc import abstractmethod

from bench.proc import established, wait_until
from bench.stage import Stage
from bench.systems.base import Ability, Setup, System, filtering

#: Path of the WebSocket.
PATH = "/proxy"

#: Where a system is measured that differs from others by one part: what a summary shows, and no more for want of time.
VARIANT_CASES = frozenset({"ingress-k64", "k1", "k64", "k256", "churn", "down", "up", "websocket", "pair", "idle"})


class TunnelSystem(System):
    """A system with a server and clients that speak ``tunnel+ws``."""

    routes = "HTTP"

    @abstractmethod
    def start_server(self, setup: Setup, stage: Stage, tunnel_port: int, entry_port: int) -> None:
        """Start the server's process."""

    @abstractmethod
    def start_clients(self, setup: Setup, stage: Stage, tunnel_port: int) -> None:
        """Start as many client processes as it takes for every connector of the setup."""

    @abstractmethod
    def start_visitor(self, setup: Setup, stage: Stage, tunnel_port: int, port: int) -> None:
        """Start the process of a visitor: from a local port to the target, with no entrypoint between."""

    def start(self, setup: Setup, stage: Stage) -> int:
        _, entry_port = self.join(setup, stage)
        return entry_port

    def join(self, setup: Setup, stage: Stage) -> tuple[int, int]:
        """Start server and clients, and return once they have joined and, but for datagrams, a request goes through.

        :returns: the ports of the tunnel's listener and of the entrypoint.
        """
        tunnel_port, entry_port = stage.port(), stage.port()
        self.start_server(setup, stage, tunnel_port, entry_port)
        stage.wait_listening(tunnel_port, entry_port)
        self.start_clients(setup, stage, tunnel_port)
        links = links_of(setup)

        def joined() -> bool:
            stage.check()
            return established(tunnel_port) >= links

        wait_until(joined, f"{links} links", 120.0, pause=0.05)
        if not setup.datagrams:
            stage.wait_answer(entry_port)
        return tunnel_port, entry_port

    def on_server_of(self, other: TunnelSystem, name: str, title: str) -> Mixed:
        """Our client on the server of another."""
        return Mixed(name, title, other, self)


class Mixed(TunnelSystem):
    """The server of one system, the client of another."""

    can = frozenset({Ability.PAIR})
    cases = VARIANT_CASES

    def __init__(self, name: str, title: str, server: TunnelSystem, client: TunnelSystem) -> None:
        super().__init__(name, title)
        self._server = server
        self._client = client

    def absent(self) -> str | None:
        return self._server.absent() or self._client.absent()

    def version(self) -> str:
        return f"server {self._server.version()}, client {self._client.version()}"

    def start_server(self, setup: Setup, stage: Stage, tunnel_port: int, entry_port: int) -> None:
        self._server.start_server(setup, stage, tunnel_port, entry_port)

    def start_clients(self, setup: Setup, stage: Stage, tunnel_port: int) -> None:
        self._client.start_clients(setup, stage, tunnel_port)

    def start_visitor(self, setup: Setup, stage: Stage, tunnel_port: int, port: int) -> None:
        self._client.start_visitor(setup, stage, tunnel_port, port)


class Visited(System):
    """A tunnel behind a visitor: plain TCP all the way, or datagrams.

    :param tunnel: has the server and the client, and the visitor as well.
    """

    routes = "TCP"
    can = frozenset({Ability.DATAGRAMS})
    cases = frozenset({"k64", "down", "up", "udp"})

    def __init__(self, name: str, title: str, tunnel: TunnelSystem) -> None:
        super().__init__(name, title)
        self._tunnel = tunnel

    def absent(self) -> str | None:
        return self._tunnel.absent()

    def version(self) -> str:
        return self._tunnel.version()

    def start(self, setup: Setup, stage: Stage) -> int:
        tunnel_port, _ = self._tunnel.join(setup, stage)
        port = stage.port()
        self._tunnel.start_visitor(setup, stage, tunnel_port, port)
        if setup.datagrams:
            stage.wait_echo(port)
        else:
            stage.wait_listening(port)
            stage.wait_answer(port)
        return port


def links_of(setup: Setup) -> int:
    """How many links a setup has."""
    return len(setup.targets) * setup.connectors + setup.tunnels - 1 + len(filtering(setup.filters))
