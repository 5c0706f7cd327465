"""``rtunnel server``: accepts clients and visitors."""

from __future__ import annotations

from typing import Any

from rtunnel.cli.service_options import ServiceOptions
from rtunnel.roles import SERVER_ROLE
from rtunnel.roles.service import RoleService

__all__ = ["Options"]


class Options(ServiceOptions):
    """The options of a server."""

    role = SERVER_ROLE
    introduction = """\
Usage: rtunnel server [options]
  (also: twistd -n rtunnel server [options])

Accepts clients on one port and visitors on another, and forwards each request
to one of the clients of its tunnel.

Example: clients connect to ws://HOST:8421/proxy, visitors of shop.example.org
to port 80
  rtunnel server --listen :8421 --path /proxy --entrypoint :80 \\
    --route shop.example.org={uuid}
"""
    url_examples = """\
The same as a URL of gost:
  rtunnel server -L "tunnel+ws://:8421?entrypoint=:80&path=/proxy\\
&tunnel=shop.example.org:{uuid}"
"""

    def make_service(self, reactor: Any) -> RoleService:
        # late, so that --help and wrong options need not wait for the WebSocket library
        from rtunnel.registry.opening import open_registry
        from rtunnel.server.service import ServerService

        settings = self.resolved.settings
        if settings.workers > 1:
            from rtunnel.workers.supervisor import Supervisor

            return Supervisor(settings, self.arguments, reactor)
        return ServerService(settings, reactor, open_registry(settings.registry, reactor))
