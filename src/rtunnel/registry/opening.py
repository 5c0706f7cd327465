"""The shared registry that the settings ask for."""

from __future__ import annotations

from typing import Any

from rtunnel.registry.interfaces import SharedRegistry
from rtunnel.settings import RegistrySettings, SettingsError

__all__ = ["open_registry"]


def open_registry(settings: RegistrySettings, reactor: Any) -> SharedRegistry | None:
    """Make it; the caller starts it.

    :returns: None if nothing is shared.
    :raises SettingsError: redis-py is not installed.
    """
    if settings.address is None:
        return None
    try:
        # an extra: a sidecar needs none of it
        from rtunnel.registry.redis_registry import RedisRegistry
    except ImportError:
        raise SettingsError("--registry", str(settings.address), 'needs redis-py; install "rtunnel[redis]"') from None
    return RedisRegistry(settings, reactor)
