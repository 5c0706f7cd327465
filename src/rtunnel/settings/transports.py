"""The transports that a link can run over."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import SettingsError, check

__all__ = ["SECURE", "TRANSPORT", "TRANSPORTS", "WEBSOCKETS", "check_no_unused_tls"]

TRANSPORTS = ("ws", "wss", "tcp", "tls")

SECURE = frozenset(("wss", "tls"))
"""Those with TLS."""

WEBSOCKETS = frozenset(("ws", "wss"))
"""Those with a path."""

TRANSPORT = check(TRANSPORTS.__contains__, "must be one of " + ", ".join(f'"{name}"' for name in TRANSPORTS))


def check_no_unused_tls(transport: str, tls: attrs.AttrsInstance) -> None:
    """Refuse TLS settings for a transport without TLS, which would give a false sense of security.

    :param tls: an attrs object; each field whose value is not the default was given.
    :raises SettingsError: one was given.
    """
    if transport in SECURE:
        return
    secure = "wss" if transport in WEBSOCKETS else "tls"
    for field in attrs.fields(type(tls)):
        if getattr(tls, field.name) != field.default:
            hint = f"needs TLS, which {transport}:// does not have; write {secure}:// (in a gost URL tunnel+{secure}://)"
            raise SettingsError(f"tls.{field.name}", None, hint)
