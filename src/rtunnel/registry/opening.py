"""The shared registry that the settings ask for."""

from __future__ import annotations

from typing import Any

from rtunnel.registry.interfaces import SharedRegistry
from rtunnel.settings import RegistrySettings

__all__ = ["open_registry"]


def open_registry(settings: RegistrySettings, reactor: Any) -> SharedRegistry | None:
    """Make it; the caller starts it.

    :returns: None if nothing is shared.
    """
    if settings.address is None:
        return None
    # late: redis-py is an extra, which a server without a registry need not have
    from rtunnel.registry.redis_registry import RedisRegistry

    return RedisRegistry(settings, reactor)
