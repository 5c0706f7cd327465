"""Connectors that only stand by: ``python -m bench.fleet PORT COUNT [FIRST]`` joins COUNT tunnels, one connector each.

They are rtunnel's own, in one process that nobody measures, so that a server can be seen with a thousand of them.
Says ``fleet ready`` once all have joined.
"""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.python import log

from bench.proc import LOOPBACK
from bench.systems.base import other_tunnel
from bench.systems.tunnel import PATH
from rtunnel.client.service import ClientService
from rtunnel.settings import Address, ClientSettings, ConnectorSettings, UnixSocket


def main(port: int, count: int, first: int = 1) -> None:
    """Join the tunnels from a number on, and stay until killed."""
    connectors = tuple(
        ConnectorSettings(
            server=Address(LOOPBACK, port),
            transport="ws",
            path=PATH,
            tunnel=other_tunnel(number),
            # Nobody visits these tunnels, and nobody has to look whether somebody listens there.
            target=UnixSocket("/nowhere"),
        )
        for number in range(first, first + count)
    )
    log.startLogging(sys.stderr)
    service = ClientService(ClientSettings(connectors=connectors), reactor)
    service.startService()
    service.when_ready().addCallbacks(lambda _: print("fleet ready", flush=True), log.err)
    reactor.run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
