"""The site of a run: a server, a pod, nginx as Ingress, and what the laptops serve."""

from __future__ import annotations

from contextlib import ExitStack
from uuid import uuid4

from tests.astray.heads import FILTERS, HOST
from tests.process.scenario import ingress
from tests.support.processes import Nginx, Process, free_port, rtunnel
from tests.support.services import NamedService

__all__ = ["Site"]


class Site:
    """Runs from the beginning of a ``with`` to its end.

    :param pods: how many there are.
    :ivar entrypoint: its port.
    :ivar ingress: the port of nginx.
    """

    def __init__(self, pods: int = 1) -> None:
        self._pods = pods

    def __enter__(self) -> Site:
        self.entrypoint, self.ingress, self._listener = free_port(), free_port(), free_port()
        self._tunnel = str(uuid4())
        with ExitStack() as stack:
            nginx = Nginx(ingress(self.ingress, self.entrypoint, self._listener))
            stack.callback(nginx.stop)
            nginx.ready(self.ingress)
            self._server = stack.enter_context(
                rtunnel(
                    *("server", "--listen", f"ws://127.0.0.1:{self._listener}/proxy"),
                    *("--entrypoint", f"127.0.0.1:{self.entrypoint}", "--route", f"{HOST}={self._tunnel}"),
                )
            )
            self._server.wait_for("entrypoint on")
            self._stack = stack.pop_all()
        self._services = {name: self._serve(name) for name in ("pod", "dave", *FILTERS)}
        for _ in range(self._pods):
            self.join("pod")
        return self

    def _serve(self, name: str) -> NamedService:
        service = NamedService(name)
        self._stack.callback(service.stop)
        return service

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def join(self, name: str) -> Process:
        """Start somebody's client, and wait until it has joined."""
        filters = [word for wanted in FILTERS.get(name, ()) for word in ("--intercept", wanted)]
        client = rtunnel(
            *("client", "--server", f"ws://127.0.0.1:{self.ingress}/proxy", "--host-header", HOST, "--tunnel", self._tunnel),
            *("--target", f"127.0.0.1:{self._services[name].port}", "--weight", "1", "--name", name, *filters),
        )
        self._stack.enter_context(client)
        client.wait_for("takes the requests with" if filters else "joined tunnel")
        return client

    def left(self, times: int) -> None:
        """Wait until the server knows that clients have left so often."""
        self._server.wait_for(" left tunnel ", times)
