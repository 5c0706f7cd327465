"""The settings of a client, and of a visitor: a client without connectors, whose options are for the local ports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import attrs

from rtunnel import urls
from rtunnel.config.layout import CLIENT_LAYOUT, VISITOR_LAYOUT
from rtunnel.options.layers import Layer, OptionValue, RawOption, construct, overlay, require
from rtunnel.options.proxies import from_environment
from rtunnel.roles.merging import Merged, Source, Sources, conflict
from rtunnel.roles.role import Resolved, Role
from rtunnel.settings import (
    ClientSettings,
    ConnectorSettings,
    ProxySettings,
    ServerConnectionSettings,
    SettingsError,
    VisitorSettings,
)

__all__ = ["CLIENT_ROLE", "VISITOR_ROLE", "connectors", "server_connection"]


# -- merging


def _merge_client(options: Iterable[RawOption], environ: Mapping[str, str]) -> Merged:
    sources = Sources.read(options, environ, CLIENT_LAYOUT).exclusive("target", "L")
    return _merge(sources, "target", _read_target_or_visitor)


def _merge_visitor(options: Iterable[RawOption], environ: Mapping[str, str]) -> Merged:
    sources = Sources.read(options, environ, VISITOR_LAYOUT).exclusive("listen", "L").exclusive("to", "L")
    return _merge(sources, "listen", urls.read_visitor)


def _merge(sources: Sources, local_field: str, read_local: Callable[[str, str], urls.Reading]) -> Merged:
    sources = sources.exclusive("server", "F")
    servers = _read_servers(sources.urls_of("F", "server"), sources.command_line)
    local = [read_local(*url) for url in sources.urls_of("L", local_field)]
    merged = sources.merge(local, servers)
    return attrs.evolve(merged, warnings=(*merged.warnings, *_proxy_password_warnings(sources.command_line)))


def _read_target_or_visitor(origin: str, text: str) -> urls.Reading:
    """``-L`` of a client: a target, or the local port of a visitor."""
    visits = urls.split(origin, text).scheme in urls.VISITOR_SCHEMES
    return urls.read_visitor(origin, text) if visits else urls.read_target(origin, text)


def _read_servers(servers: Sequence[tuple[str, str]], command_line: Source) -> list[urls.Reading]:
    """``-F``: the last one is the server, those before it are the proxies on the path to it."""
    readings = [urls.read_server(*url) for url in servers[-1:]]
    if len(servers) > 1:
        if "proxies" in command_line.layer:
            raise conflict(command_line.layer["proxies"].key, servers[0][0])
        readings.append(urls.read_proxies(servers[:-1]))
    return readings


def _proxy_password_warnings(command_line: Source) -> Iterator[str]:
    proxies = command_line.layer.get("proxies")
    if proxies is not None and proxies.key == "--proxy" and any(proxy and proxy.credentials for proxy in proxies.value):
        yield "--proxy contains a password, which is visible in the process list; use --proxy-file or RTUNNEL_PROXY"


# -- validation


def _validate_client(merged: Merged, environ: Mapping[str, str]) -> Resolved[ClientSettings]:
    def build(layer: Layer) -> Iterable[ServerConnectionSettings]:
        return _visitors(environ, layer) if "listen" in layer else connectors(environ, layer)

    return _validate(merged, build)


def _validate_visitor(merged: Merged, environ: Mapping[str, str]) -> Resolved[ClientSettings]:
    return _validate(merged, partial(_visitors, environ))


def _validate(merged: Merged, build: Callable[[Layer], Iterable[ServerConnectionSettings]]) -> Resolved[ClientSettings]:
    built = merged.each(build)
    settings = merged.construct(
        ClientSettings,
        connectors=tuple(one for one in built if isinstance(one, ConnectorSettings)),
        visitors=tuple(one for one in built if isinstance(one, VisitorSettings)),
    )
    return Resolved(settings, merged.warnings)


def server_connection(options: Iterable[RawOption], environ: Mapping[str, str]) -> ServerConnectionSettings:
    """The server and the tunnel of a client, from its options, without what the client does there.

    :param options: the command line. A configuration file, and variables, may have more than is needed.
    :raises SettingsError: something is missing or invalid, or a file cannot be read.
    """
    layer = _merge_client(options, environ).items[0]
    _require_server(layer, "ask about")
    return construct(ServerConnectionSettings, layer, proxies=_proxies(environ, layer))


def _visitors(environ: Mapping[str, str], layer: Layer) -> Iterator[VisitorSettings]:
    """One visitor for each local port."""
    _require_server(layer, "visit")
    require(layer, "listen", "--listen", "say which local port to open, e.g. --listen 127.0.0.1:2222 (or -L tcp://:2222/ssh.svc)")
    hint = "say what to visit, a host in the server's rules, e.g. --to ssh.svc (or -L tcp://:2222/ssh.svc)"
    require(layer, "to", "--to", hint)
    proxies = _proxies(environ, layer)
    listens, destinations = layer["listen"], layer["to"]
    if len(listens.value) != len(destinations.value):
        hint = f"given {len(destinations.value)} times, but {listens.key} {len(listens.value)} times; give one for each port"
        raise SettingsError(destinations.key, None, hint)
    for listen, to in zip(listens.value, destinations.value, strict=True):
        one = {"listen": OptionValue(listens.key, None, listen), "to": OptionValue(destinations.key, None, to)}
        yield construct(VisitorSettings, overlay(layer, one), proxies=proxies)


def connectors(environ: Mapping[str, str], layer: Layer) -> Iterator[ConnectorSettings]:
    """One connector for each target."""
    _require_server(layer, "join")
    require(layer, "target", "--target", "say where requests are forwarded to, e.g. --target :80 (or -L rtcp://:0/:80)")
    proxies = _proxies(environ, layer)
    targets = layer["target"]
    for target in targets.value:
        one = overlay(layer, {"target": OptionValue(targets.key, None, target)})
        yield construct(ConnectorSettings, one, proxies=proxies)


def _require_server(layer: Layer, what_for: str) -> None:
    require(layer, "server", "--server", "say where the server is, e.g. --server ws://proxy:8421/proxy (or -F), or --profile NAME")
    require(layer, "tunnel", "--tunnel", f"say which tunnel to {what_for}, e.g. --tunnel UUID (tunnel.id=UUID in -F)")


def _proxies(environ: Mapping[str, str], layer: Layer) -> tuple[ProxySettings, ...]:
    """Those of the environment; a layer with proxies of its own needs none of them."""
    if "proxies" in layer:
        return ()
    transport = layer["transport"].value if "transport" in layer else attrs.fields(ConnectorSettings).transport.default
    return from_environment(environ, str(transport), layer["server"].value)


CLIENT_ROLE = Role(CLIENT_LAYOUT, _merge_client, _validate_client)
VISITOR_ROLE = Role(VISITOR_LAYOUT, _merge_visitor, _validate_visitor)
