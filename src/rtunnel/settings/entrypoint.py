"""The settings of entrypoints, where visitors connect."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import attrs

from rtunnel.routing.ingress import IngressRule
from rtunnel.settings.address import Address
from rtunnel.settings.checks import SettingsError
from rtunnel.settings.http import HttpSettings

__all__ = ["EntrypointSettings"]


@attrs.frozen(kw_only=True)
class EntrypointSettings:
    """Entrypoints with the ingress rules that they share.

    :ivar entrypoints: where visitors connect.
    :ivar rules: which host belongs to which tunnel.
    :ivar routes_file: a file with more rules, reloaded when it changes; ``None`` for none.
    :ivar proxy_protocol: the networks whose connections begin with a PROXY header; all others have none.
    :ivar http: see :class:`HttpSettings`.
    """

    entrypoints: tuple[Address, ...] = ()
    rules: tuple[IngressRule, ...] = ()
    routes_file: str | None = None
    proxy_protocol: tuple[IPv4Network | IPv6Network, ...] = ()
    http: HttpSettings = attrs.field(factory=HttpSettings)

    def __attrs_post_init__(self) -> None:
        seen: dict[str, IngressRule] = {}
        for rule in self.rules:
            if seen.setdefault(rule.pattern, rule) != rule:
                raise SettingsError(
                    "rules",
                    str(rule),
                    "this host already belongs to another tunnel; list each host once",
                )
