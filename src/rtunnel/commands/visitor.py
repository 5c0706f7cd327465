"""``rtunnel visitor``: opens local ports that lead to private tunnels."""

from __future__ import annotations

from typing import Any

from rtunnel.cli.service_options import ServiceOptions
from rtunnel.roles import VISITOR_ROLE
from rtunnel.roles.service import RoleService

__all__ = ["Options"]


class Options(ServiceOptions):
    """The options of a visitor."""

    role = VISITOR_ROLE
    introduction = """\
Usage: rtunnel visitor [options]
  (also: twistd -n rtunnel visitor [options])

Opens a local port. Each connection to it goes through the server to a client of
a private tunnel, and from there to its target.

Example: port 2222 of this machine leads to the SSH server of the client that
joined the tunnel (ssh -p 2222 127.0.0.1). The other client has --target :22,
the server --route 'ssh.svc=${uuid}'
  rtunnel visitor --server wss://shop.example.org/proxy \\
    --tunnel {uuid} \\
    --listen 127.0.0.1:2222 --to ssh.svc
"""
    url_examples = """\
The same as URLs of gost, which "rtunnel client" accepts as well (without an
address the port is open on every interface):
  rtunnel visitor -L tcp://127.0.0.1:2222/ssh.svc \\
    -F "tunnel+wss://shop.example.org:443?path=/proxy\\
&tunnel.id={uuid}"
"""

    def make_service(self, reactor: Any) -> RoleService:
        # late, so that --help and wrong options need not wait for the WebSocket library
        from rtunnel.client.service import ClientService

        return ClientService(self.resolved.settings, reactor)
