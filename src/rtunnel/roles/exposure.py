"""What settings leave open or hardly mean, although they are valid: said once, at the start."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from rtunnel.ids import describe_examples
from rtunnel.settings import Address, ClientSettings, ListenerSettings, ServerSettings

__all__ = ["exposures"]

POD = "KUBERNETES_SERVICE_HOST"
"""The variable that every container of a pod has."""


def exposures(settings: ServerSettings | ClientSettings, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield what is open to others or hardly meant, one line each, with what to do.

    :param environ: tells whether this is a pod.
    """
    if isinstance(settings, ServerSettings):
        yield from _open_listeners(settings.listeners)
        yield from _hidden_visitors(settings.listeners, in_pod=POD in environ)
        yield from _alone(settings)
        used = {rule.tunnel for listener in settings.listeners for rule in listener.rules}
        used |= {listener.entrypoint_id for listener in settings.listeners if listener.entrypoint_id is not None}
    else:
        used = {one.tunnel for one in (*settings.connectors, *settings.visitors)}
    yield from describe_examples(used)


def _open_listeners(listeners: Iterable[ListenerSettings]) -> Iterator[str]:
    """One line for all listeners at which the ID of a tunnel is all that a client needs."""
    found = [
        str(listener.listen)
        for listener in listeners
        if listener.listen is not None
        and not _is_loopback(listener.listen)
        and listener.users is None
        and listener.credentials is None
        and listener.tls.ca_file is None
    ]
    if found:
        yield (
            f"everybody who reaches {' or '.join(found)} and knows a tunnel's ID can join the tunnel and take its requests; "
            "require users (--users) or client certificates (--ca-file), or listen on loopback (docs/security.md)"
        )


def _hidden_visitors(listeners: Iterable[ListenerSettings], *, in_pod: bool) -> Iterator[str]:
    """One line for all entrypoints that know visitors by an address which, as it seems, is that of a proxy."""
    found = [
        str(entrypoint)
        for listener in listeners
        if listener.http.sticky is not None
        and listener.http.sticky.by.value == "address"
        and not listener.http.trusted_proxies
        and not listener.proxy_protocol
        for entrypoint in listener.entrypoints
        if in_pod or _is_loopback(entrypoint)
    ]
    if found:
        yield (
            f"--sticky address at {' and '.join(found)}, where visitors seem to come through a proxy "
            f"({'this is a pod' if in_pod else 'it is on loopback'}): all of them would be one visitor, and stay with one client; "
            "name the proxy with --trusted-proxy or --proxy-protocol, or use --sticky cookie (docs/intercepts.md)"
        )


def _alone(settings: ServerSettings) -> Iterator[str]:
    """What only works together: a registry, and a way for others to reach this server."""
    if settings.registry.address is not None and settings.peer.listen is None:
        yield (
            "--registry without --peer-listen: other servers know the clients of this one, but cannot reach them (docs/replicas.md)"
        )
    if settings.registry.address is None and settings.peer.listen is not None:
        yield "--peer-listen without --registry: no other server hears of this one; add --registry (docs/replicas.md)"


def _is_loopback(address: Address) -> bool:
    try:
        return ip_address(address.host).is_loopback
    except ValueError:
        return address.host.lower() == "localhost"
