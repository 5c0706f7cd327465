"""Asks a process for its status."""

from __future__ import annotations

from typing import Any

from rtunnel.cli import admin
from rtunnel.cli.exit_status import CommandError
from rtunnel.ops.status import STATUS_VERSION
from rtunnel.settings import Address

__all__ = ["get_status"]


def get_status(address: Address) -> dict[str, Any]:
    """Get the status document of a process.

    :param address: its admin address.
    :raises CommandError: there is no answer, or none that this version understands.
    """
    document = admin.get(address, "/status")
    try:
        version = document["status_version"]
    except (TypeError, KeyError):
        raise CommandError(f"http://{address}/status is not a status document; is this the admin address of an rtunnel?") from None
    if version != STATUS_VERSION:
        raise CommandError(
            f"http://{address}/status has version {version}, but this rtunnel reads version {STATUS_VERSION}; use the same rtunnel"
        )
    found: dict[str, Any] = document
    return found
