"""``rtunnel reach``: ports of this machine that lead to what the pod of a host reaches."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet import defer
from twisted.logger import Logger

from rtunnel.asking.arguments import ServerParser
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.ops.start import StartError
from rtunnel.options.kinds import ADDRESS
from rtunnel.settings import Address

if TYPE_CHECKING:
    from rtunnel.client.pod.link import PodLinkClient

__all__ = ["main"]

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
    parser = _parser()
    arguments, settings = parser.parse(argv, os.environ)
    # late, so that --help need not wait for the WebSocket library
    from rtunnel.client.pod.asking import PodAskFailed, over_link
    from rtunnel.client.pod.link import PodLinkClient

    link = PodLinkClient(settings, arguments.host, reactor=reactor)
    if not arguments.list:
        return await _serve(link, arguments, reactor)
    if arguments.proxy is not None or arguments.forward:
        parser.error("--list opens no port: leave --proxy and --forward out")
    try:
        await over_link(link, reactor, _list)
    except (PodAskFailed, StartError) as error:
        raise CommandError(str(error)) from None
    return ExitStatus.OK


def _parser() -> ServerParser:
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
        type=_loopback,
        metavar="ADDRESS:PORT",
        help=f"local port of the proxy, for SOCKS5, SOCKS4a and HTTP (default without --forward: {DEFAULT_PROXY}); a proxy on the "
        "way to the server is given with --proxy-file or RTUNNEL_PROXY",
    )
    parser.add_argument(
        "--forward",
        type=_forward,
        action="append",
        default=[],
        metavar="[[ADDRESS:]PORT:]HOST:PORT",
        help="local port that leads to one destination, e.g. 5432:postgres:5432; repeatable",
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
    proxy = arguments.proxy or (None if arguments.forward else _loopback(DEFAULT_PROXY))
    from rtunnel.client.pod.link import PodLinkFailed
    from rtunnel.client.pod.local_programs import Forward, LocalPrograms
    from rtunnel.client.wake import SleepWatch
    from rtunnel.wire.proxy_server import Wanted

    programs = LocalPrograms(link, reactor)
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


@attrs.frozen
class ForwardArgument:
    """What a ``--forward`` says.

    :ivar listen: the local port.
    :ivar host: of the destination, as the pod calls it.
    :ivar port: of the destination.
    """

    listen: Address
    host: str
    port: int


def _loopback(text: str) -> Address:
    """A port of loopback; for argparse."""
    if "://" in text:
        hint = "a local address is ADDRESS:PORT; a proxy on the way to the server is given with --proxy-file or RTUNNEL_PROXY"
        raise argparse.ArgumentTypeError(f'"{text}": {hint}')
    try:
        address: Address = ADDRESS.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}": {error}') from None
    if not _is_loopback(address.host):
        raise argparse.ArgumentTypeError(f'"{text}" is not on loopback, where only this machine connects; write 127.0.0.1:PORT')
    return address


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _forward(text: str) -> ForwardArgument:
    """A forward; for argparse."""
    rest, colon, port = text.rpartition(":")
    local, host = _split_host(rest)
    if not colon or not host or not _is_port(port) or host.isdecimal():
        raise argparse.ArgumentTypeError(f'"{text}" is no forward; write [[ADDRESS:]PORT:]HOST:PORT, e.g. 5432:postgres:5432')
    if not local:
        local = port
    return ForwardArgument(_loopback(f"127.0.0.1:{local}" if local.isdecimal() else local), host, int(port))


def _split_host(text: str) -> tuple[str, str]:
    """What precedes a host, without the colon, and the host, without brackets."""
    if text.endswith("]"):
        before, _, host = text[:-1].rpartition("[")
        return before.removesuffix(":"), host
    before, _, host = text.rpartition(":")
    return before, host


def _is_port(text: str) -> bool:
    return text.isdecimal() and text.isascii() and 0 < int(text) < 65536
