"""The scenario with real processes: a server and a sidecar behind a real nginx that plays the Ingress."""

from __future__ import annotations

from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import Nginx, Process, free_port, rtunnel
from tests.support.services import NamedService

__all__ = ["HOST", "Scenario", "ingress"]

HOST = "nginx.local"


def ingress(port: int, entrypoint: int, tunnel: int) -> str:
    """The Ingress of the scenario as nginx sees it: / to the entrypoint, /proxy to the tunnel listener."""
    return f"""
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream entrypoint {{ server 127.0.0.1:{entrypoint}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        server_name {HOST};
        client_max_body_size 0;
        location / {{
            proxy_pass http://entrypoint;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_request_buffering off;
            proxy_next_upstream off;
        }}
        location /proxy {{
            proxy_pass http://127.0.0.1:{tunnel};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout 3600s;
        }}
    }}
    server {{ listen 127.0.0.1:{port} default_server; return 404; }}
    """


class Scenario(TestCase):
    """Server and sidecar run; each test adds the laptops that it needs."""

    timeout = 120

    def setUp(self) -> None:
        self.tunnel = str(uuid4())
        self.ingress_port, self.tunnel_port, self.entrypoint_port = free_port(), free_port(), free_port()
        self.pod, self.laptop = NamedService("pod"), NamedService("laptop")
        self.addCleanup(self.pod.stop)
        self.addCleanup(self.laptop.stop)
        nginx = Nginx(ingress(self.ingress_port, self.entrypoint_port, self.tunnel_port))
        self.addCleanup(nginx.stop)
        nginx.ready(self.ingress_port)
        self.server = self.start_server()
        self.sidecar = self.start(
            "client",
            "-L",
            f"rtcp://:0/127.0.0.1:{self.pod.port}",
            "-F",
            f"tunnel+ws://127.0.0.1:{self.tunnel_port}?tunnel.id={self.tunnel}&tunnel.weight=1&path=/proxy",
        )
        self.sidecar.wait_for("joined tunnel")

    def start(self, *arguments: str) -> Process:
        process = rtunnel(*arguments)
        self.addCleanup(process.stop)
        return process

    def start_server(self) -> Process:
        server = self.start(
            "server",
            "-L",
            f"tunnel+ws://127.0.0.1:{self.tunnel_port}?entrypoint=127.0.0.1:{self.entrypoint_port}"
            f"&tunnel={HOST}:{self.tunnel}&path=/proxy",
        )
        server.wait_for("entrypoint on")
        return server
