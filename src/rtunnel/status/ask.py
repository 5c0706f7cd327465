"""Gets the status of a process from its admin address."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException
from typing import Any

from rtunnel.ops.logs import one_line
from rtunnel.ops.status import STATUS_VERSION
from rtunnel.settings import Address

__all__ = ["MAX_ANSWER", "TIMEOUT", "AskError", "ask"]

TIMEOUT = 5.0
"""Seconds that the process may take to accept, and between two pieces of its answer."""
MAX_ANSWER = 64 * 2**20
"""Bytes of an answer that are read."""

_EVERYWHERE = frozenset(("", "0.0.0.0", "::"))


class AskError(Exception):
    """There is no status to be had; the text is one line for the user."""


def ask(address: Address) -> dict[str, Any]:
    """Ask a process for its status.

    :param address: its admin address; one that stands for every interface is taken as this machine.
    :raises AskError: nobody answers, or it is not a status that this version understands.
    """
    where = f"http://{address}/status"
    connection = HTTPConnection("localhost" if address.host in _EVERYWHERE else address.host, address.port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/status", headers={"Accept": "application/json"})
        answer = connection.getresponse()
        status, body = answer.status, answer.read(MAX_ANSWER)
    except ConnectionRefusedError:
        raise AskError(
            f"nothing listens on {address}; start the server or client with --admin {address}, or say with --admin where it listens"
        ) from None
    except TimeoutError:
        raise AskError(f"{where} did not answer within {TIMEOUT:g} s") from None
    except (OSError, HTTPException) as error:
        raise AskError(f"{where} cannot be asked: {_reason(error)}") from None
    finally:
        connection.close()
    if status != 200:
        raise AskError(f"{where} answered with {status}: it is no admin address of rtunnel, or of a version without a status")
    return _read(where, body)


def _reason(error: Exception) -> str:
    return one_line(getattr(error, "strerror", None) or str(error)) or type(error).__name__


def _read(where: str, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
        version = document["status_version"]
    except (ValueError, TypeError, KeyError):
        raise AskError(f"{where} answered with something else than a status; is it the admin address of rtunnel?") from None
    if version != STATUS_VERSION:
        raise AskError(
            f"{where} speaks version {version} of the status, this rtunnel version {STATUS_VERSION}; use the same rtunnel"
        )
    found: dict[str, Any] = document
    return found
