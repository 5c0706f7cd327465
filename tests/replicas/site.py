"""Servers that share a Redis, clients, a service, and an nginx in front of the servers that tries no request twice."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.replicas.partitions import Place, make_places, relays
from tests.support.processes import Nginx, Process, ask, free_port, gost, python_path, wait_until
from tests.support.redis import RedisServer
from tests.support.services import NamedService

__all__ = ["DATAGRAMS", "HOST", "LONG", "NAME", "SECURE", "Replica", "Site"]

HOST = "pod.local"
SECURE = "secure.local"
"""For TLS that is passed through, by chaos; its tunnel has two clients, one of which joins all servers."""
DATAGRAMS = "echo.svc"
"""For visitors that come with UDP; the same."""
LONG = "long.local"
"""For connections that last: its tunnel has one client, which joins all servers."""
NAME = "servers.test"
"""What the servers are called together, as by a headless Service."""
PATIENCE = 60.0


class Replica:
    """One server, at ports that stay the same when it is started again.

    :param place: where it runs.
    """

    def __init__(self, site: Site, number: int, place: Place) -> None:
        self.site = site
        self.number = number
        self.place = place
        self.address, self.host = place.listen, place.host
        self.entrypoint, self.admin, self.peer_port = free_port(), free_port(), free_port()
        self.process: Process | None = None

    def start(self) -> None:
        """Start it, without waiting for anything."""
        site = self.site
        self.process = Process(
            [*self.place.prefix, sys.executable, "-m", "rtunnel", "server", *self._options(site)],
            env={"PYTHONPATH": python_path()},
        )

    def _options(self, site: Site) -> tuple[str, ...]:
        return (
            f"--listen={self.address}:{site.listen}",
            f"--entrypoint={self.host}:{self.entrypoint}",
            f"--route={HOST}={site.tunnel}",
            f"--route={LONG}={site.long}",
            f"--admin={self.host}:{self.admin}",
            f"--registry=unix://{site.redis.socket}",
            f"--peer-listen={self.host}:{self.peer_port}",
            f"--peer-address={self.place.peer_address(self.peer_port)}",
            f"--peer-secret-file={site.secret}",
            f"--stop-delay={site.stop_delay}",
            "--ready-wait=30",
            "--no-admin-socket",
            *site.options,
        )

    @property
    def running(self) -> Process:
        """Its process.

        :raises AssertionError: it does not run.
        """
        assert self.process is not None, f"server {self.number} does not run"
        return self.process

    @property
    def ready(self) -> bool:
        """What /readyz says."""
        return ask(self.admin, "/readyz", self.host)[0] == 200

    def status(self) -> Any:
        """Its status document."""
        status, body = ask(self.admin, "/status", self.host)
        assert status == 200, body
        return json.loads(body)

    def counts(self) -> Counter[str]:
        """Its metrics without labels, and those with labels summed up."""
        counts: Counter[str] = Counter()
        for line in ask(self.admin, "/metrics", self.host)[1].splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                counts[name.partition("{")[0]] += int(float(value))
        return counts

    def wait_ready(self) -> None:
        """Wait until it is ready, then lead visitors to it."""
        wait_until(lambda: self.ready, f"server {self.number} is ready\n{self.running.output}", PATIENCE)
        self.site.lead_to(self)

    def stop(self) -> None:
        """Stop it as Kubernetes does: visitors are led elsewhere once it is not ready, and it may finish what it has."""
        self.running.send(signal.SIGTERM)
        wait_until(lambda: not self.ready, f"server {self.number} is not ready any more", PATIENCE)
        self.site.lead_away(self)
        status = self.running.wait(PATIENCE)
        assert status == 0, f"server {self.number} ended with {status}\n{self.running.output}"
        self.end()

    def kill(self) -> None:
        """It is gone."""
        self.site.lead_away(self)
        self.running.send(signal.SIGKILL)
        self.running.wait()
        self.end()

    def end(self) -> None:
        """End what still runs, and keep its words."""
        process, self.process = self.process, None
        if process is not None:
            process.send(signal.SIGKILL)
            if "Traceback" in process.output:
                self.site.faults.append(f"server {self.number}:\n{process.output}")
            process.stop()


class Site:
    """The whole site; use as a context manager.

    :param count: how many servers.
    :param stop_delay: of each server, in seconds.
    :param options: more options of each server.
    :param apart: whether each shall be in a network namespace of its own, where that is possible.
    :ivar faults: the output of processes that had an error of their own.
    """

    def __init__(self, count: int = 2, *, stop_delay: float = 1.5, options: tuple[str, ...] = (), apart: bool = False) -> None:
        self.stop_delay = stop_delay
        self.options = options
        self.tunnel, self.long, self.secure, self.datagrams = (str(uuid4()) for _ in range(4))
        self.faults: list[str] = []
        self.port, self.joins, self.listen = free_port(), free_port(), free_port()
        self._stack = ExitStack()
        self._clients: list[Process] = []
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rtunnel-replicas-")))
        # the workers of nginx may be another user's
        self.folder.chmod(0o755)
        self.secret, self.names = self.folder / "secret", self.folder / "hosts"
        self.secret.write_text("the secret of the servers of a test")
        self.redis = RedisServer()
        self._stack.callback(self.redis.close)
        self.pod = NamedService("pod")
        self._stack.callback(self.pod.stop)
        places = make_places(count) if apart else relays(count)
        self.replicas = [Replica(self, number, place) for number, place in enumerate(places, 1)]
        for replica in self.replicas:
            self._stack.callback(replica.place.close)
        for replica in self.replicas:
            self._stack.callback(replica.end)
        self.names.write_text("".join(f"{replica.address} {NAME}\n" for replica in self.replicas))
        nginx = Nginx(self._balancer())
        self._stack.callback(nginx.stop)
        nginx.ready(self.port)

    def __enter__(self) -> Site:
        try:
            for replica in self.replicas:
                replica.start()
            self.sidecar(f"--tunnel={self.long}")
            return self
        except BaseException:
            self._stack.close()
            raise

    def __exit__(self, *exc: object) -> None:
        for client in self._clients:
            client.send(signal.SIGKILL)
            client.stop()
        self._stack.close()

    # -- the balancer

    def lead_to(self, replica: Replica) -> None:
        """Lead visitors and laptops to a server, too."""
        (self.folder / f"{replica.number}.up").touch()

    def lead_away(self, replica: Replica) -> None:
        """Lead them to the others. Files, and no other configuration: a reload would close the connections of visitors."""
        with suppress(FileNotFoundError):
            (self.folder / f"{replica.number}.up").unlink()

    def _balancer(self) -> str:
        groups = {
            "".join(str(replica.number) for replica in self.replicas if bits >> replica.number & 1): bits
            for bits in range(2, 2 << len(self.replicas), 2)
        }
        blocks = [
            f"upstream {kind}-{name} {{ {self._servers(kind, name)} keepalive 32; }}"
            for kind in ("visitors", "laptops")
            for name in groups
        ]
        choose = 'set $group "";' + "".join(
            f'if (-f {self.folder}/{replica.number}.up) {{ set $group "${{group}}{replica.number}"; }}' for replica in self.replicas
        )
        servers = [
            f"""server {{
                listen 127.0.0.1:{port};
                client_max_body_size 0;
                location / {{
                    {choose}
                    proxy_pass http://{kind}-$group;
                    proxy_set_header Host $host;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection $connection_field;
                    proxy_request_buffering off;
                    proxy_buffering off;
                    proxy_read_timeout 3600s;
                }}
            }}"""
            for kind, port in (("visitors", self.port), ("laptops", self.joins))
        ]
        return "\n".join(
            [
                "map $http_upgrade $connection_field { default upgrade; '' ''; }",
                "proxy_http_version 1.1; proxy_next_upstream off; keepalive_requests 1000000;",
                *blocks,
                *servers,
            ]
        )

    def _servers(self, kind: str, group: str) -> str:
        members = [replica for replica in self.replicas if str(replica.number) in group]
        visitors = [f"{replica.host}:{replica.entrypoint}" for replica in members]
        laptops = [f"{replica.address}:{self.listen}" for replica in members]
        return " ".join(f"server {address};" for address in (visitors if kind == "visitors" else laptops))

    # -- clients

    def sidecar(self, *options: str, target: int | None = None) -> Process:
        """A client that joins all servers.

        :param options: more of them; another ``--tunnel`` overrides that of the site.
        :param target: the port of its service; by default that of the pod.
        """
        return self._client(f"ws://{NAME}:{self.listen}/ws", target, "--join=all", *options)

    def laptop(self, *options: str, target: int | None = None) -> Process:
        """The same of a client that joins one server, through the balancer."""
        return self._client(f"ws://127.0.0.1:{self.joins}/ws", target, *options)

    def gost(self, weight: int, target: int) -> Process:
        """A client that is a gost, at one server; it knows nothing of what ours are told."""
        process = gost("-L", f"rtcp://:0/127.0.0.1:{target}", "-F", f"{self._laptops(self.tunnel)}&tunnel.weight={weight}")
        self._clients.append(process)
        return process

    def datagram_clients(self, target: int) -> None:
        """The clients of the tunnel for datagrams."""
        everywhere = f"tunnel+ws://{NAME}:{self.listen}?path=/ws&tunnel.id={self.datagrams}"
        for server, join in ((everywhere, "--join=all"), (self._laptops(self.datagrams), "--join=one")):
            self._ours("client", "-L", f"rudp://:0/127.0.0.1:{target}", "-F", server, join, "--backoff-max=1")

    def datagram_visitor(self, port: int) -> None:
        """A local port whose datagrams go to that tunnel, through one server."""
        self._ours("visitor", "-L", f"udp://127.0.0.1:{port}/{DATAGRAMS}", "-F", self._laptops(self.datagrams))

    def _laptops(self, tunnel: str) -> str:
        return f"tunnel+ws://127.0.0.1:{self.joins}?path=/ws&tunnel.id={tunnel}"

    def open_to_visitors(self) -> list[Replica]:
        """The servers to which the balancer leads visitors now."""
        return [replica for replica in self.replicas if (self.folder / f"{replica.number}.up").exists()]

    def _client(self, server: str, target: int | None, *options: str) -> Process:
        words = (f"--server={server}", f"--tunnel={self.tunnel}", f"--target=127.0.0.1:{target or self.pod.port}")
        return self._ours("client", *words, "--backoff-max=1", *options)

    def _ours(self, *words: str) -> Process:
        """A client or visitor that knows the name of the servers."""
        process = Process(
            [sys.executable, "-m", "tests.support.with_hosts", str(self.names), *words, "--no-admin-socket"],
            env={"PYTHONPATH": python_path()},
        )
        self._clients.append(process)
        return process

    def wait_ready(self) -> None:
        """Wait until all servers are ready."""
        for replica in self.replicas:
            replica.wait_ready()

    # -- what it looks like

    def rows(self) -> list[int]:
        """How many connectors of the tunnel each server has to choose from."""
        return [self._rows(replica.status()["tunnels"]) for replica in self.replicas]

    def _rows(self, tunnels: list[Any]) -> int:
        return sum(tunnel["connectors"] for tunnel in tunnels if self.tunnel.startswith(tunnel["tunnel"]))

    def has_long(self, replica: Replica) -> bool:
        """Whether the client for connections that last is attached to a server."""
        return any(self.long.startswith(connector["tunnel"]) for connector in replica.status()["connectors"])

    def ask(self, replica: Replica, path: str = "/", method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
        """One request at a server."""
        connection = HTTPConnection(replica.host, replica.entrypoint, timeout=30)
        try:
            connection.request(method, path, body, {"Host": HOST})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
