"""Asks a running process, at its admin socket or its admin address."""

from __future__ import annotations

import argparse
import json
import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import CommandError
from rtunnel.masking import mask
from rtunnel.ops.admin_places import AdminPlace, directories, find_places
from rtunnel.ops.logs import one_line
from rtunnel.options.kinds import TARGET
from rtunnel.settings import Address
from rtunnel.settings.checks import plain

__all__ = ["DEFAULT_ADDRESS", "MAX_ANSWER", "TIMEOUT", "Place", "add_argument", "choose", "get", "url_of"]

DEFAULT_ADDRESS: Final = "127.0.0.1:8480"
VARIABLE: Final = "RTUNNEL_ADMIN"
TIMEOUT = 5.0
"""Seconds for the process to accept the connection, and between two pieces of its answer."""
MAX_ANSWER: Final = 64 * 2**20
"""Bytes of an answer that are read."""
MOST_LISTED: Final = 20
"""Processes that are listed when several could be meant."""

_EVERY_INTERFACE = frozenset(("", "0.0.0.0", "::"))

Place = Address | AdminPlace
"""Where a process is asked."""


def add_argument(parser: Parser, environ: Mapping[str, str]) -> None:
    """Add ``--admin`` to the arguments of a command; its value is an :class:`~rtunnel.settings.Address`, or None without one.

    :param environ: where the process that is asked may have had its own address from.
    """
    parser.add_argument(
        "--admin",
        type=_address,
        default=environ.get(VARIABLE) or None,
        metavar="[HOST]:PORT",
        help=f"ask at the --admin address of the process (default: ${VARIABLE}, else the socket that each process has)",
    )


def _address(text: str) -> Address:
    try:
        address: Address = TARGET.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{plain(mask(text))}": {error}') from None
    return address


def choose(admin: Address | None, environ: Mapping[str, str], wanted: str | None = None) -> Place:
    """Where to ask: at the address that was given, else at the socket of the only process that can be meant.

    :param admin: the address.
    :param wanted: the process ID or the role of the process.
    :raises CommandError: there is none, or there are several.
    """
    if admin is not None:
        if wanted is not None:
            raise CommandError(f'"{one_line(wanted)}" and --admin: one of them says which process to ask; leave the other out')
        return admin
    running = find_places(environ)
    found = [place for place in running if wanted in (None, place.role, str(place.pid))]
    if len(found) == 1:
        return found[0]
    if found:
        raise CommandError("\n".join([f"{len(found)} processes run here; say which, by its process ID:", *_listed(found)]))
    if wanted is None and _accepts(Address("127.0.0.1", int(DEFAULT_ADDRESS.rpartition(":")[2]))):
        return _address(DEFAULT_ADDRESS)
    if running:
        raise CommandError("\n".join([f'no process here is "{one_line(wanted or "")}"; there are:', *_listed(running)]))
    raise CommandError(
        "no rtunnel of this user runs on this machine, as far as the sockets in "
        f"{', '.join(map(str, directories(environ)))} tell; one of another user, or one with --no-admin-socket, is asked with "
        "--admin HOST:PORT, if it was started with that"
    )


def _accepts(address: Address) -> bool:
    with socket.socket() as probe:
        probe.settimeout(TIMEOUT)
        return probe.connect_ex((address.host, address.port)) == 0


def _listed(places: list[AdminPlace]) -> list[str]:
    lines = [f"  {place.pid:>7}  {place.role:<7}  {_about(place)}" for place in places[:MOST_LISTED]]
    return lines + ([f"  and {len(places) - MOST_LISTED} more"] if len(places) > MOST_LISTED else [])


def _about(place: AdminPlace) -> str:
    """What a process is for, in a few words."""
    try:
        document = get(place, "/status")
        if place.role == "server":
            texts = [rule["host"] for rule in document["rules"]]
        elif place.role == "client":
            texts = [
                f"{', '.join(one.get('hosts') or ['tunnel ' + one['tunnel']])} -> {one['target']}" for one in document["connectors"]
            ]
        else:
            texts = [f"{port['address']} -> {port['to']}" for port in document["ports"]]
        return one_line(", ".join(dict.fromkeys(texts)))[:100]
    except (CommandError, KeyError, TypeError) as error:
        return f"? ({type(error).__name__})" if not isinstance(error, CommandError) else "does not answer"


class _SocketConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(place: Place) -> HTTPConnection:
    if isinstance(place, AdminPlace):
        return _SocketConnection(place.path, TIMEOUT)
    return HTTPConnection("localhost" if place.host in _EVERY_INTERFACE else place.host, place.port, timeout=TIMEOUT)


def url_of(place: Place, path: str) -> str:
    """What is asked, for messages."""
    return f"{path} of {place.role} {place.pid}" if isinstance(place, AdminPlace) else f"http://{place}{path}"


def get(place: Place, path: str) -> Any:
    """Get a JSON document.

    :param place: of the process; an address that stands for every interface means this machine.
    :param path: of the document.
    :raises CommandError: there is no answer, or it is not JSON.
    """
    url = url_of(place, path)
    connection = _connection(place)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        status, body = answer.status, answer.read(MAX_ANSWER)
    except (ConnectionRefusedError, FileNotFoundError):
        raise CommandError(_nobody(place)) from None
    except TimeoutError:
        raise CommandError(f"no answer from {url} within {TIMEOUT:g} s") from None
    except (OSError, HTTPException) as error:
        raise CommandError(f"cannot get {url}: {_reason(error)}") from None
    finally:
        connection.close()
    if status != 200:
        raise CommandError(f"{url} answered with status {status}; is this the admin address of an rtunnel with the same version?")
    try:
        return json.loads(body)
    except ValueError:
        raise CommandError(f"{url} did not answer with JSON; is this the admin address of an rtunnel?") from None


def _nobody(place: Place) -> str:
    if isinstance(place, AdminPlace):
        return f"the {place.role} {place.pid} has ended"
    return f"nothing listens on {place}; start the server or client with --admin {place}, or leave --admin out to ask at its socket"


def _reason(error: Exception) -> str:
    return one_line(getattr(error, "strerror", None) or str(error)) or type(error).__name__
