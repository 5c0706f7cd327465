"""What settings leave open, although they are valid: said once, at the start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from rtunnel.ids import describe_examples
from rtunnel.settings import Address, ClientSettings, ListenerSettings, ServerSettings

__all__ = ["exposures"]


def exposures(settings: ServerSettings | ClientSettings) -> Iterator[str]:
    """Yield what is open to others, one line each, with what to do."""
    if isinstance(settings, ServerSettings):
        yield from _open_listeners(settings.listeners)
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


def _is_loopback(address: Address) -> bool:
    try:
        return ip_address(address.host).is_loopback
    except ValueError:
        return address.host.lower() == "localhost"
