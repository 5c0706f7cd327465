"""Redis through redis-py: where it is, and why something failed, in a few words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from rtunnel.settings import RegistrySettings

__all__ = ["CONNECT_TIMEOUT", "TIMEOUT", "Client", "RedisError", "client_factory", "reason_of"]

Client = Redis
RedisError = exceptions.RedisError

CONNECT_TIMEOUT = 2.0
"""Seconds for a connection to Redis."""
TIMEOUT = 3.0
"""Seconds for an answer of Redis."""


def client_factory(settings: RegistrySettings) -> Callable[[], Client]:
    """What makes clients of the Redis of the settings; they connect with their first command.

    A client is for one thread, and never repeats a command by itself: what was written, and what was missed, must be known.
    """
    address = settings.address
    assert address is not None
    options: dict[str, Any] = {
        "db": address.database,
        "username": address.user or None,
        "password": settings.password or None,
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        # messages come as answers, not beside them
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "rtunnel",
    }
    if address.scheme == "unix":
        return lambda: Redis(unix_socket_path=address.path, **options)
    options["socket_keepalive"] = True
    if address.secure:
        options |= {"ssl": True, "ssl_ca_certs": settings.ca_file}
    if not address.sentinel:
        host = address.hosts[0]
        return lambda: Redis(host=host.host, port=host.port, **options)
    places = [(host.host, host.port) for host in address.hosts]
    security = {name: value for name, value in options.items() if name.startswith("ssl")}
    asking = {"socket_timeout": CONNECT_TIMEOUT, "socket_connect_timeout": CONNECT_TIMEOUT, **security}

    def through_sentinels() -> Client:
        sentinel = Sentinel(places, sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call]
        client: Client = sentinel.master_for(address.service)  # type: ignore[no-untyped-call]
        return client

    return through_sentinels


_CLUSTER = re.compile(r"\b(MOVED|CROSSSLOT|CLUSTERDOWN)\b")


def reason_of(error: Exception, settings: RegistrySettings) -> str:
    """Why something failed, and what to do about it."""
    text = str(error)
    if isinstance(error, exceptions.AuthenticationError):
        return (
            "it refuses user and password (--registry-password-file)"
            if settings.password
            else ("it wants a password (--registry-password-file)")
        )
    if isinstance(error, exceptions.NoPermissionError) or "NOPERM" in text:
        return f"its user lacks a permission that docs/replicas.md lists: {text}"
    if isinstance(error, MasterNotFoundError):
        return f"no Sentinel knows a master of that name: {text}"
    if isinstance(error, exceptions.TimeoutError):
        return "it does not answer"
    if isinstance(error, exceptions.ReadOnlyError) or "READONLY" in text:
        return "it is a replica, which takes no writes"
    if isinstance(error, exceptions.BusyLoadingError):
        return "it is still loading its data"
    if _CLUSTER.search(text):
        return "it is a Redis Cluster, which is not supported; use one Redis, or several with Sentinel"
    if isinstance(error, exceptions.ConnectionError):
        return f"it cannot be reached: {text}"
    if "maxmemory" in text:
        return "it has no memory left (maxmemory)"
    if "DB index" in text:
        return f"it has no database {settings.address.database if settings.address else 0}"
    if "WRONGTYPE" in text:
        return f'its keys that begin with "{settings.prefix}" belong to something else; choose another --registry-prefix'
    return text or type(error).__name__
