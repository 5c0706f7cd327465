"""``rtunnel reach``: ports of this machine that lead to what the pod of a host reaches."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.logger import Logger

from rtunnel.asking.arguments import ServerParser, add_forwards
from rtunnel.cli.arguments import argument
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.ops.descriptors import raise_limit
from rtunnel.ops.start import StartError
from rtunnel.options.local_ports import LOOPBACK

if TYPE_CHECKING:
    from rtunnel.client.pod.link import PodLinkClient

__all__ = ["main", "make_parser"]

_EXAMPLES = """\
  rtunnel reach shop.example.org --server wss://shop.example.org/proxy --tunnel UUID
  rtunnel reach shop.example.org --config client.yaml --list
  rtunnel reach shop.example.org --config client.yaml --forward 5432:postgres:5432 --forward redis.shop:6379
  curl -x socks5h://127.0.0.1:1080 http://orders.shop.svc/
  psql -h 127.0.0.1 -p 5432
"""

DEFAULT_PROXY = "127.0.0.1:1080"
STOP_TIMEOUT = 2.0
"""Seconds in which the link is closed cleanly."""

_log = Logger()


async def main(argv: Sequence[str], reactor: Any) -> int:
    """Open the ports, and serve them until a signal ends the command, or list what may be reached; returns the exit status."""
    parser = make_parser()
    arguments, settings = parser.parse(argv, os.environ)
    # late, so that --help need not wait for the WebSocket library
    from rtunnel.client.pod.asking import PodAskFailed, over_link
    from rtunnel.client.pod.link import PodLinkClient

    link = PodLinkClient(settings, arguments.host, reactor=reactor)
    if not arguments.list:
        # each connection of a program takes a descriptor
        raise_limit()
        return await _serve(link, arguments, reactor)
    if arguments.proxy is not None or arguments.forward:
        parser.error("--list opens no port: leave --proxy and --forward out")
    try:
        await over_link(link, reactor, _list)
    except (PodAskFailed, StartError) as error:
        raise CommandError(str(error)) from None
    return ExitStatus.OK


def make_parser() -> ServerParser:
    """Its arguments."""
    parser = ServerParser(
        "reach",
        description="Connects programs of this machine with services that the pod of a host reaches, through a client there with "
        "--reach. Names are resolved in the pod.",
        examples=_EXAMPLES,
        own=("proxy",),
    )
    parser.add_argument("host", metavar="HOST", help="whose pod: one of the hosts of the server's rules")
    parser.add_argument(
        "--proxy",
        type=argument(LOOPBACK),
        metavar=LOOPBACK.metavar,
        help=f"local port of the proxy, for SOCKS5, SOCKS4a and HTTP (default without --forward: {DEFAULT_PROXY}); a proxy on the "
        "way to the server is given with --proxy-file or RTUNNEL_PROXY",
    )
    add_forwards(parser)
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse what the pod does not reach; without it the proxy connects to names that are not of the cluster from here",
    )
    parser.add_argument("--list", action="store_true", help="list what may be reached, and open no port")
    return parser


async def _list(link: PodLinkClient) -> None:
    from rtunnel.client.pod.asking import ask_reach

    listed = await ask_reach(link)
    print("\n".join(map(str, listed.rules)))
    if listed.namespace:
        print(f"the pod is in the namespace {listed.namespace} of {listed.cluster_domain}")


async def _serve(link: PodLinkClient, arguments: argparse.Namespace, reactor: Any) -> int:
    """Open the ports, and serve them until it is cancelled."""
    proxy = arguments.proxy or (None if arguments.forward else LOOPBACK.parse(DEFAULT_PROXY))
    from rtunnel.client.pod.destinations import Destinations
    from rtunnel.client.pod.link import PodLinkFailed
    from rtunnel.client.pod.local_programs import Forward, LocalPrograms
    from rtunnel.client.wake import SleepWatch
    from rtunnel.wire.proxy_server import Wanted

    destinations = None if arguments.strict else Destinations(link, reactor)
    programs = LocalPrograms(link, reactor, destinations=destinations)
    sleep = SleepWatch(link.woke, reactor)
    try:
        opened = None if proxy is None else programs.proxy(proxy)
        forwards = [programs.forward(Forward(one.listen, Wanted(one.host, one.port))) for one in arguments.forward]
        await link.start()
        if opened is not None:
            _log.info(
                "proxy at {address} (SOCKS5, SOCKS4a, HTTP), e.g. ALL_PROXY=socks5h://{address}; names are resolved in the pod",
                address=str(opened),
            )
        for forward in forwards:
            _log.info("{forward}", forward=str(forward))
        _log.info("reaching what the pod of {host} allows; Ctrl-C ends it", host=arguments.host)
        sleep.start()
        # until a signal cancels it
        await defer.Deferred()
    except (PodLinkFailed, StartError) as error:
        raise CommandError(str(error)) from None
    finally:
        sleep.stop()
        programs.close()
        with suppress(defer.TimeoutError):
            await link.stop().addTimeout(STOP_TIMEOUT, reactor)
    raise AssertionError("nothing fires that")
