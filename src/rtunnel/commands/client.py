"""``rtunnel client``: joins tunnels and forwards their requests to local services."""

from __future__ import annotations

from typing import Any

from rtunnel.cli.service_options import ServiceOptions
from rtunnel.roles import CLIENT_ROLE
from rtunnel.roles.service import RoleService

__all__ = ["Options"]


class Options(ServiceOptions):
    """The options of a client."""

    role = CLIENT_ROLE
    introduction = """\
Usage: rtunnel client [options]
  (also: twistd -n rtunnel client [options])

Joins a tunnel of a server and forwards its requests to a local service.
Reconnects whenever the connection is lost.

Example: the service on port 3000 of this machine gets half of the requests,
beside another client with weight 1
  rtunnel client --server wss://shop.example.org/proxy \\
    --tunnel {uuid} --weight 1 --target :3000
Where DNS does not know the host:
  --server ws://ADDRESS-OF-THE-INGRESS/proxy --host-header shop.example.org
"""
    url_examples = """\
The same as URLs of gost:
  rtunnel client -L rtcp://:0/:3000 -F "tunnel+wss://shop.example.org:443\\
?tunnel.id={uuid}&tunnel.weight=1&path=/proxy"
"""

    def make_service(self, reactor: Any) -> RoleService:
        # late, so that --help and wrong options need not wait for the WebSocket library
        from rtunnel.client.service import ClientService

        return ClientService(self.resolved.settings, reactor)
