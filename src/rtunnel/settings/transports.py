"""The byte streams that a link can run over."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import SettingsError, check

__all__ = ["SECURE", "TRANSPORT", "TRANSPORTS", "WEBSOCKETS", "no_tls_in_vain"]

TRANSPORTS = ("ws", "wss", "tcp", "tls")

SECURE = frozenset(("wss", "tls"))
"""Those with TLS."""

WEBSOCKETS = frozenset(("ws", "wss"))
"""Those with a path."""

TRANSPORT = check(TRANSPORTS.__contains__, "must be one of " + ", ".join(f'"{name}"' for name in TRANSPORTS))


def no_tls_in_vain(transport: str, tls: attrs.AttrsInstance) -> None:
    """Refuse settings of TLS for a transport that has none: who gives them believes to be safe.

    :param tls: an attrs object; each of its fields that is not at its default was given.
    """
    if transport in SECURE:
        return
    secure = "wss" if transport in WEBSOCKETS else "tls"
    for field in attrs.fields(type(tls)):
        if getattr(tls, field.name) != field.default:
            hint = f"is about TLS, but {transport}:// has none; write {secure}:// (in a URL of gost tunnel+{secure}://)"
            raise SettingsError(f"tls.{field.name}", None, hint)
