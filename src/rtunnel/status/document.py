"""Asks a process for its status."""

from __future__ import annotations

from typing import Any

from rtunnel.cli import admin
from rtunnel.cli.exit_status import CommandError
from rtunnel.ops.status import STATUS_VERSION

__all__ = ["get_status"]


def get_status(place: admin.Place) -> dict[str, Any]:
    """Get the status document of a process.

    :param place: where it is asked.
    :raises CommandError: there is no answer, or none that this version understands.
    """
    document = admin.get(place, "/status")
    url = admin.url_of(place, "/status")
    try:
        version = document["status_version"]
    except (TypeError, KeyError):
        raise CommandError(f"{url} is not a status document; is this the admin address of an rtunnel?") from None
    if version != STATUS_VERSION:
        raise CommandError(f"{url} has version {version}, but this rtunnel reads version {STATUS_VERSION}; use the same rtunnel")
    found: dict[str, Any] = document
    return found
