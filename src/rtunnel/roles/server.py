"""The settings of a server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rtunnel import urls
from rtunnel.config.layout import SERVER_LAYOUT
from rtunnel.options.layers import Layer, RawOption, construct, require
from rtunnel.roles.merging import Merged, Sources
from rtunnel.roles.role import Resolved, Role
from rtunnel.settings import AccessLogSettings, LimitSettings, ListenerSettings, PeerSettings, ServerSettings

__all__ = ["SERVER_ROLE"]


def _merge(options: Iterable[RawOption], environ: Mapping[str, str]) -> Merged:
    sources = Sources.read(options, environ, SERVER_LAYOUT).exclusive("listen", "L")
    return sources.merge([urls.read_listener(*url) for url in sources.urls_of("L", "listen")])


def _validate(merged: Merged, _environ: Mapping[str, str]) -> Resolved[ServerSettings]:
    accepting = any("listen" in layer for layer in merged.items)
    listeners = merged.each(lambda layer: (_listener(layer, standalone=accepting and "listen" not in layer),))
    access_log = construct(AccessLogSettings, merged.base, "access_log")
    limits = construct(LimitSettings, merged.base, "limits")
    peer = construct(PeerSettings, merged.base, "peer")
    settings = merged.construct(ServerSettings, listeners=listeners, access_log=access_log, limits=limits, peer=peer)
    return Resolved(settings, merged.warnings)


def _listener(layer: Layer, *, standalone: bool) -> ListenerSettings:
    """One listener.

    :param standalone: whether it has entrypoints only, beside another one that clients connect to.
    """
    if not standalone:
        require(layer, "listen", "--listen", "say where clients connect, e.g. --listen :8421")
    direct = "direct" in layer and layer["direct"].value
    rules = layer["rules"].value if "rules" in layer else ()
    private = rules and all(rule.private for rule in rules) and "routes_file" not in layer
    if standalone or ("entrypoint_id" not in layer and not private and not direct):
        hint = "say where visitors connect, e.g. --entrypoint :80 (entrypoint=:80 in -L)"
        require(layer, "entrypoints", "--entrypoint", hint)
    if not direct and "routes_file" not in layer:
        hint = "say which host belongs to which tunnel, e.g. --route nginx.local=UUID (tunnel=nginx.local:UUID in -L)"
        require(layer, "rules", "--route", hint)
    return construct(ListenerSettings, layer)


SERVER_ROLE = Role(SERVER_LAYOUT, _merge, _validate)
