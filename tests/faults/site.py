"""The processes of a scenario: server, pod and laptop with a service each, perhaps an nginx as Ingress before the server."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

from tests.faults.load import fetch
from tests.faults.netns import Machine
from tests.faults.parties import OURS, Party
from tests.support.authority import Authority
from tests.support.processes import LOOPBACK, Nginx, Process, free_port, listening, python_path, wait_until

__all__ = ["HOST", "LAPTOP", "POD", "Site"]

HOST = "nginx.local"
POD, LAPTOP = "pod", "laptop"
AUTH = "user:swordfish"
"""What clients log in with, where the server has users."""


def limit(descriptors: int | None) -> tuple[str, ...]:
    """The words before a command that may have so many descriptors."""
    return ("sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh") if descriptors else ()


class Site:
    """One scenario as it runs; a context manager that ends all of it.

    :param party: whose programs these are.
    :param transport: between clients and server: ``ws`` or ``wss``.
    :param weight: of the laptop's client.
    :param ingress: whether an nginx stands before the server; visitors and the laptop then come through it.
    :param quiet: seconds after which this nginx cuts a WebSocket on which nothing is sent.
    :param away: whether the laptop is a machine of its own, which can be cut off.
    :param rules: more hosts, each with a tunnel; None for that of :data:`HOST`.
    :param users: the server's users file; clients then log in with :data:`AUTH`.
    :param descriptors: how many the server may have; None for as many as it gets.
    :param client_descriptors: the same of the clients.
    :param server: more options of the server.
    :ivar server: the server's process.
    :ivar clients: the clients' processes by name, :data:`POD` and :data:`LAPTOP`.
    :ivar targets: the same of their services.
    """

    server: Process

    def __init__(
        self,
        party: Party = OURS,
        transport: str = "ws",
        *,
        weight: int = 255,
        ingress: bool = False,
        quiet: float = 3600,
        away: bool = False,
        rules: Mapping[str, str | None] = MappingProxyType({}),
        users: str = "",
        descriptors: int | None = None,
        client_descriptors: int | None = None,
        server: Sequence[str] = (),
    ) -> None:
        self.party, self.transport = party, transport
        self.tunnel = str(uuid4())
        self.listen, self.entrypoint = free_port(), free_port()
        self._rules = ",".join(f"{host}:{tunnel or self.tunnel}" for host, tunnel in {HOST: None, **rules}.items())
        self._users, self._options, self._quiet = users, server, quiet
        self._server_limit, self._client_limit = limit(descriptors), limit(client_descriptors)
        self._weights = {POD: 1, LAPTOP: weight}
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rtunnel-site-")))
        self.machine = Machine() if away else None
        if self.machine is not None:
            self._stack.callback(self.machine.close)
        self._files()
        self._targets = {name: free_port() for name in (POD, LAPTOP)}
        self.targets: dict[str, Process] = {}
        self.clients: dict[str, Process] = {}
        self._ingress: Nginx | None = None
        self.ingress = free_port() if ingress else 0

    def _files(self) -> None:
        if self._users:
            users = self.folder / "users"
            users.write_text(self._users)
            self._options = (*self._options, "--users", str(users))
        authority = Authority(self.folder)
        self._certificate = authority.issue(LOOPBACK, *([self.machine.gateway] if self.machine else []))
        self._ca_file = authority.ca_file

    def __enter__(self) -> Site:
        try:
            self.start_server()
            if self.ingress:
                self.start_ingress()
            self.start_target(POD)
            self.start_client(POD)
            self._wait(lambda: self.serves(POD), "the pod serves", self.clients[POD])
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self._ingress is not None:
            self._ingress.stop()
        self._stack.close()

    def join_laptop(self) -> None:
        """Start the laptop's service and client, and wait until it serves."""
        self.start_target(LAPTOP)
        self.start_client(LAPTOP)
        self._wait(lambda: self.serves(LAPTOP), "the laptop serves", self.clients[LAPTOP])

    @property
    def tls(self) -> bool:
        """Whether visitors speak TLS."""
        return bool(self.ingress) and self.transport == "wss"

    @property
    def port(self) -> int:
        """Where visitors come."""
        return self.ingress or self.entrypoint

    def serves(self, who: str) -> bool:
        """Whether a request is answered by this service."""
        return asyncio.run(fetch(self.port, HOST, patience=2, tls=self.tls)).body == who.encode()

    # -- the parts

    def start_server(self) -> None:
        """Start the server, and wait until its ports are open."""
        where = self.machine.gateway if self.machine else LOOPBACK
        keys = "&certFile={}&keyFile={}".format(*self._certificate) if self.transport == "wss" and not self.ingress else ""
        self.server = self._start(
            *self._server_limit,
            *self.party.server,
            "-L",
            f"tunnel+{'ws' if self.ingress else self.transport}://{where}:{self.listen}"
            f"?entrypoint={LOOPBACK}:{self.entrypoint}&tunnel={self._rules}&path=/proxy{keys}",
            *self._options,
        )
        self._wait(lambda: listening(self.entrypoint), "the server listens", self.server)

    def start_client(self, name: str) -> None:
        """Start the client of the pod or the laptop; the pod's does not come through the Ingress."""
        outside = bool(self.ingress) and name == LAPTOP
        away = self.machine if name == LAPTOP else None
        where = self.machine.gateway if self.machine else LOOPBACK
        secure = self.transport == "wss" and (outside or not self.ingress)
        keys = f"&secure=true&caFile={self._ca_file}" if secure else ""
        self.clients[name] = self._start(
            *(away.prefix if away else ()),
            *self._client_limit,
            *self.party.client,
            *("-L", f"rtcp://:0/{LOOPBACK}:{self._targets[name]}", "-F"),
            f"tunnel+{'wss' if secure else 'ws'}://{where}:{self.ingress if outside else self.listen}"
            f"?tunnel.id={self.tunnel}&tunnel.weight={self._weights[name]}&path=/proxy&host={HOST}{keys}",
        )

    def start_target(self, name: str) -> None:
        """Start the service of the pod or the laptop."""
        prefix = self.machine.prefix if self.machine and name == LAPTOP else ()
        process = self._start(*prefix, OURS.server[0], "-m", "tests.faults.target", name, str(self._targets[name]))
        self.targets[name] = process
        if not prefix:
            self._wait(lambda: listening(self._targets[name]), "the service listens", process)

    def start_ingress(self) -> None:
        """Start nginx: / leads to the entrypoint, /proxy to the tunnel's listener."""
        self._ingress = Nginx(self._ingress_config(), "worker_shutdown_timeout 1s;").ready(self.ingress)

    def reload_ingress(self) -> None:
        """What an Ingress does when any rule in the cluster has changed: the old workers end, and with them the WebSockets."""
        assert self._ingress is not None
        self._ingress.send(signal.SIGHUP)

    def restart_ingress(self) -> None:
        """End nginx and start it again."""
        assert self._ingress is not None
        self._ingress.stop()
        self.start_ingress()

    def kill(self, process: Process, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal that ends a process, and wait for its end."""
        process.send(number)
        process.wait()

    def _wait(self, condition: Callable[[], bool], what: str, process: Process) -> None:
        """Wait for what a process does; its output says why it does not."""
        try:
            wait_until(condition, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{process.output}") from None

    def _start(self, *argv: str) -> Process:
        env = {"PYTHONPATH": python_path(), **self.party.env}
        if self._users:
            env["RTUNNEL_AUTH"] = AUTH
        return self._stack.enter_context(Process(argv, env=env))

    def _ingress_config(self) -> str:
        certificate, key = self._certificate
        tls = f"listen {LOOPBACK}:{self.ingress} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};"
        plain = f"listen {LOOPBACK}:{self.ingress};"
        upgrade = """
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_next_upstream off;
        """
        return f"""
        map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
        upstream entrypoint {{ server {LOOPBACK}:{self.entrypoint} max_fails=0; keepalive 16; }}
        server {{
            {plain if self.transport == "ws" else tls}
            location / {{ proxy_pass http://entrypoint; {upgrade} }}
            location /proxy {{
                proxy_pass http://{LOOPBACK}:{self.listen};
                {upgrade}
                proxy_read_timeout {self._quiet}s;
                proxy_send_timeout {self._quiet}s;
            }}
        }}
        """
