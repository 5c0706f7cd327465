"""Asks a running process, at its admin endpoint."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import CommandError
from rtunnel.masking import mask
from rtunnel.ops.logs import one_line
from rtunnel.options.kinds import TARGET
from rtunnel.settings import Address
from rtunnel.settings.checks import plain

__all__ = ["DEFAULT_ADDRESS", "MAX_ANSWER", "TIMEOUT", "add_argument", "get"]

DEFAULT_ADDRESS: Final = "127.0.0.1:8480"
VARIABLE: Final = "RTUNNEL_ADMIN"
TIMEOUT = 5.0
"""Seconds for the process to accept the connection, and between two pieces of its answer."""
MAX_ANSWER: Final = 64 * 2**20
"""Bytes of an answer that are read."""

_EVERY_INTERFACE = frozenset(("", "0.0.0.0", "::"))


def add_argument(parser: Parser, environ: Mapping[str, str]) -> None:
    """Add ``--admin`` to the arguments of a command; its value is an :class:`~rtunnel.settings.Address`.

    :param environ: where the process that is asked may have had its own address from.
    """
    parser.add_argument(
        "--admin",
        type=_address,
        default=environ.get(VARIABLE) or DEFAULT_ADDRESS,
        metavar="[HOST]:PORT",
        help=f"the --admin address of the process (default: ${VARIABLE}, else {DEFAULT_ADDRESS})",
    )


def _address(text: str) -> Address:
    try:
        address: Address = TARGET.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{plain(mask(text))}": {error}') from None
    return address


def get(address: Address, path: str) -> Any:
    """Get a JSON document.

    :param address: of the process; one that stands for every interface means this machine.
    :param path: of the document.
    :raises CommandError: there is no answer, or it is not JSON.
    """
    url = f"http://{address}{path}"
    connection = HTTPConnection("localhost" if address.host in _EVERY_INTERFACE else address.host, address.port, timeout=TIMEOUT)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        status, body = answer.status, answer.read(MAX_ANSWER)
    except ConnectionRefusedError:
        raise CommandError(
            f"nothing listens on {address}; start the server or client with --admin {address}, or give its address with --admin"
        ) from None
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


def _reason(error: Exception) -> str:
    return one_line(getattr(error, "strerror", None) or str(error)) or type(error).__name__
