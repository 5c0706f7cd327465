"""Real servers as targets that write down which requests they see: nginx, Node.js, Go."""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

from tests.smuggling.backends import Seen
from tests.support.processes import Nginx, Process, free_port, listening, needed, optional, wait_until

__all__ = ["SERVERS", "GoServer", "NginxServer", "NodeServer", "Server"]

HERE = Path(__file__).parent
COMPILING = 120.0
"""Seconds that compiling may take."""


class Server(ABC):
    """A server on loopback.

    :ivar program: what has to be installed.
    :ivar variable: that may name it, where CI need not have it.
    :ivar path: of the program.
    :ivar encoding: of its log, in which a character stands for a byte.
    :ivar port: where it listens.
    """

    program: str
    variable = ""
    encoding = "utf-8"

    def __init__(self) -> None:
        self.path = optional(self.variable, self.program) if self.variable else needed(self.program)
        self._directory = tempfile.TemporaryDirectory(prefix="rtunnel-smuggling-")
        self.log = Path(self._directory.name) / "seen"
        self.log.touch(0o666)
        Path(self._directory.name).chmod(0o755)
        self.port = free_port()
        self._process = self.start()
        wait_until(lambda: listening(self.port), f"{self.program} on port {self.port}", COMPILING)

    @abstractmethod
    def start(self) -> Process | Nginx:
        """Start it."""

    def seen(self) -> dict[str, list[Seen]]:
        """What it saw until now, by the address of the visitor that rtunnel told."""
        found: dict[str, list[Seen]] = {}
        for line in self.log.read_bytes().splitlines():
            visitor, *parts = json.loads(line.decode(self.encoding))
            found.setdefault(visitor, []).append(Seen(*(part.encode("latin-1") for part in parts)))
        return found

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.stop()
        self._directory.cleanup()


class NginxServer(Server):
    """It reads bodies only to pass them on, hence the second server behind it. Those that it refused would be in its log, too."""

    program = "nginx"
    encoding = "latin-1"

    def start(self) -> Nginx:
        behind = free_port()
        variables = ("http_x_forwarded_for", "request_method", "request_uri", "http_host", "request_body")
        fields = ", ".join(f'"${name}"' for name in variables)
        return Nginx(
            f"log_format seen escape=json '[{fields}]'; client_body_buffer_size 1m; map $status $good {{ 200 1; default 0; }}\n"
            f"server {{ listen 127.0.0.1:{self.port}; access_log {self.log} seen if=$good;\n"
            f"location / {{ proxy_pass http://127.0.0.1:{behind}; }} }}\n"
            f"server {{ listen 127.0.0.1:{behind}; access_log off; location / {{ return 200 nginx; }} }}\n"
        )


class NodeServer(Server):
    program = "node"
    variable = "RTUNNEL_TEST_NODE"

    def start(self) -> Process:
        return Process([self.path, str(HERE / "node.js"), str(self.port), str(self.log)])


class GoServer(Server):
    program = "go"
    variable = "RTUNNEL_TEST_GO"

    def start(self) -> Process:
        binary = Path(self._directory.name) / "server"
        with Process([self.path, "build", "-o", str(binary), str(HERE / "server.go")]) as building:
            assert building.wait(COMPILING) == 0, building.output
        return Process([str(binary), str(self.port), str(self.log)])


SERVERS: dict[str, type[Server]] = {kind.program: kind for kind in (NginxServer, NodeServer, GoServer)}
