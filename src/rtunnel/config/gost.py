"""A configuration file of gost v3, as far as it is about tunnels, as layers of settings.

Each of its services becomes the URLs that mean the same, so that keys, errors and warnings are those of :mod:`rtunnel.urls`. The
structure is taken from go-gost/gost.run (``docs/reference/configuration/file.md``, ``docs/tutorials/reverse-proxy-tunnel.md``)
and go-gost/x (``config/config.go``, ``handler/tunnel/metadata.go``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import attrs

from rtunnel import urls
from rtunnel.config import document
from rtunnel.config.document import Items, Keys, Node, Text
from rtunnel.options import ignored_gost_keys
from rtunnel.options.layers import Layer, overlay, parts, put
from rtunnel.options.table import CLIENT, FORWARD, SERVER, UDP, Option, find
from rtunnel.settings import SettingsError

__all__ = ["GostFile", "is_gost", "read_gost"]


@attrs.frozen
class GostFile:
    """The content of a gost file that has an equivalent here.

    :ivar listeners: a layer for each ``tunnel`` service.
    :ivar connectors: a layer for each ``rtcp``, ``rudp`` or ``runix`` service with a chain to a tunnel.
    :ivar visitors: a layer for each ``tcp`` or ``udp`` service with a chain to a tunnel.
    :ivar warnings: about everything else, one line each.
    """

    listeners: tuple[Layer, ...]
    connectors: tuple[Layer, ...]
    visitors: tuple[Layer, ...]
    warnings: tuple[str, ...]


def is_gost(path: str) -> bool:
    """Whether a file is a gost file: whether it has ``services:``."""
    tree = document.read(path)
    return isinstance(tree, Keys) and "services" in _map(tree)


def read_gost(path: str) -> GostFile:
    """Read a gost file.

    :raises SettingsError: it cannot be read, or contains something that must not be ignored, such as an access rule.
    """
    tree = document.read(path)
    if not isinstance(tree, Keys):
        raise SettingsError(path, None, 'not a gost file, which begins with "services:"')
    return _Reader(path, _map(tree)).read()


Map = dict[str, Node]


def _map(node: Node | None) -> Map:
    """The keys of a map in lower case, as gost compares them; none for anything else."""
    return {key.text.lower(): value for key, value in node.entries} if isinstance(node, Keys) else {}


def _items(node: Node | None) -> tuple[Node, ...]:
    return node.items if isinstance(node, Items) else ()


def _text(node: Node | None) -> str:
    return node.text if isinstance(node, Text) and not node.empty else ""


def _known(rows: Iterable[Option], others: frozenset[str]) -> frozenset[str]:
    ours = (name for option in rows for key in option.keys for name in key.names)
    return frozenset(name.lower() for name in (*ours, *others, *ignored_gost_keys.ACCESS))


# keys of their own in a file, which are in the query of a URL
_TLS_KEYS = {"certfile": "certFile", "keyfile": "keyFile", "cafile": "caFile", "secure": "secure", "servername": "serverName"}
_PROXY_SCHEMES = {("http", "tcp"): "http", ("http", "tls"): "https", ("socks5", "tcp"): "socks5"}
_SERVER_KEYS = _known(SERVER, ignored_gost_keys.OF_SERVER)
_CLIENT_KEYS = _known((option for option in CLIENT if option not in (*FORWARD, *UDP)), ignored_gost_keys.OF_CLIENT)
_TARGET_KEYS = _known(FORWARD, ignored_gost_keys.OF_TARGET)
_UDP_TARGET_KEYS = _known((*FORWARD, *UDP), ignored_gost_keys.OF_TARGET)
_VISITOR_KEYS = _known((), ignored_gost_keys.OF_VISITOR)
_UDP_VISITOR_KEYS = _known(UDP, ignored_gost_keys.OF_VISITOR)
_PARTS = frozenset(("name", "addr", "handler", "listener", "forwarder", "metadata", "connector", "dialer", "filter"))


class _Query:
    """The query of a URL, collected from several places of a file; the first value of a key wins."""

    def __init__(self, reader: _Reader, where: str, known: frozenset[str]) -> None:
        self._reader = reader
        self._where = where
        self._known = known
        self._pairs: dict[str, tuple[str, str]] = {}

    def add(self, key: str, value: str) -> None:
        self._pairs.setdefault(key.lower(), (key, value))

    def add_all(self, node: Node | None, skip: frozenset[str] = frozenset(("metadata",))) -> None:
        """Add the keys of a map; warn about those that have no equivalent."""
        if not isinstance(node, Keys):
            return
        for key, value in node.entries:
            name = key.text
            if name.lower() in skip:
                continue
            if isinstance(value, Text) and value.empty:
                continue
            if isinstance(value, Text) and name.lower() in self._known:
                self.add(name, value.text)
            else:
                self._reader.warn(key.line, self._where, f"{name} has no equivalent here and is ignored")

    def __str__(self) -> str:
        return "&".join(f"{quote(key)}={quote(value, safe='/:,$')}" for key, value in self._pairs.values())


class _Reader:
    def __init__(self, path: str, top: Map) -> None:
        self._path = path
        self._top = top
        self._warnings: list[str] = []
        self._listeners: list[Layer] = []
        self._connectors: list[Layer] = []
        self._visitors: list[Layer] = []

    def warn(self, line: int, where: str, what: str) -> None:
        self._warnings.append(f"{self._path}:{line}: {where}: {what}")

    def read(self) -> GostFile:
        for number, node in enumerate(_items(self._top.get("services"))):
            service = _map(node)
            name = _text(service.get("name")) or f"services[{number + 1}]"
            kind = _text(_map(service.get("handler")).get("type")).lower()
            if kind == "tunnel":
                self._listener(node, service, name)
            elif kind in ("rtcp", "rudp", "runix"):
                self._connector(node, service, name, kind)
            elif kind in urls.VISITOR_SCHEMES and _text(_map(service.get("handler")).get("chain")):
                self._visitor(node, service, name, kind)
            else:
                self.warn(node.line, name, f'a service with the handler "{kind}" has no equivalent here and is ignored')
        for key in self._top:
            if key not in ("services", "chains", "hops", "ingresses", "authers"):
                self._warnings.append(f"{self._path}: {key} has no equivalent here and is ignored")
        return GostFile(tuple(self._listeners), tuple(self._connectors), tuple(self._visitors), tuple(self._warnings))

    # -- a server

    def _listener(self, node: Node, service: Map, name: str) -> None:
        origin = f"{self._path}:{node.line}: {name}"
        handler, listener = _map(service.get("handler")), _map(service.get("listener"))
        metadata = _map(handler.get("metadata"))
        query = _Query(self, name, _SERVER_KEYS)
        for key, value in self._rules(metadata, name):
            query.add(key, value)
        entrypoints, standalone = self._entrypoints(metadata, origin, name)
        if entrypoints:
            query.add("entrypoint", ",".join(entrypoints))
        special = frozenset(("ingress", "entrypoints", "tunnel"))
        query.add_all(handler.get("metadata"), special)
        query.add_all(listener.get("metadata"), special)
        self._tls(query, service, ("handler", "listener"))
        query.add_all(service.get("handler"), frozenset(("type", "metadata", "tls", "chain", "auth")))
        query.add_all(service.get("listener"), frozenset(("type", "metadata", "tls", "chain", "auth")))
        query.add_all(node, _PARTS)
        user = _user(handler.get("auth")) or _user(listener.get("auth"))
        scheme = f"tunnel+{_text(listener.get('type')) or 'tcp'}"
        reading = urls.read_listener(origin, f"{scheme}://{user}{_text(service.get('addr'))}?{query}")
        self._warnings += reading.warnings
        self._listeners += [reading.layer, *standalone]

    def _entrypoints(self, metadata: Map, origin: str, name: str) -> tuple[list[str], list[Layer]]:
        """The entrypoints with the rules of the service, and those with rules of their own, each a layer."""
        shared = [_text(metadata.get("entrypoint"))] if _text(metadata.get("entrypoint")) else []
        standalone: list[Layer] = []
        for one in map(_map, _items(metadata.get("entrypoints"))):
            address = _text(one.get("entrypoint")) or _text(one.get("addr"))
            if "ingress" not in one:
                shared.append(address)
                continue
            layer: Layer = {}
            put(layer, find(SERVER, "entrypoint"), origin, address)
            for key, value in self._rules({"ingress": one["ingress"]}, name):
                option = find(SERVER, "routes-file" if key == "routesFile" else "route")
                for part in parts(value) if option.many else [value]:
                    put(layer, option, origin, part)
            standalone.append(layer)
        return shared, standalone

    def _rules(self, metadata: Map, name: str) -> Iterator[tuple[str, str]]:
        """The rules of a tunnel service as keys of a URL: its own, those of its ingress, and the file of its ingress."""
        rules = [_text(metadata.get("tunnel"))] if _text(metadata.get("tunnel")) else []
        wanted = _text(metadata.get("ingress"))
        file = ""
        for node in _items(self._top.get("ingresses")) if wanted else ():
            ingress = _map(node)
            if _text(ingress.get("name")) != wanted:
                continue
            listed = map(_map, _items(ingress.get("rules")))
            rules += [f"{_text(rule.get('hostname'))}:{_text(rule.get('endpoint'))}" for rule in listed]
            file = _text(_map(ingress.get("file")).get("path"))
            for key in ingress.keys() - {"name", "rules", "file", "reload"}:
                self.warn(
                    node.line,
                    f"ingress {wanted}",
                    f"{key} has no equivalent here and is ignored; only rules and files of rules are supported",
                )
        if rules:
            yield "tunnel", ",".join(rules)
        if file:
            yield "routesFile", file
        if wanted and not rules and not file:
            self._warnings.append(f'{self._path}: {name}: the ingress "{wanted}" has no rules in this file')

    # -- a client

    def _connector(self, node: Node, service: Map, name: str, kind: str) -> None:
        origin = f"{self._path}:{node.line}: {name}"
        handler, listener = _map(service.get("handler")), _map(service.get("listener"))
        layer = self._chain(_text(listener.get("chain")) or _text(handler.get("chain")), node, name)
        if layer is None:
            return
        forwarder = _map(service.get("forwarder"))
        query = _Query(self, name, _UDP_TARGET_KEYS if kind == "rudp" else _TARGET_KEYS)
        query.add_all(handler.get("metadata"))
        query.add_all(listener.get("metadata"))
        query.add_all(forwarder.get("selector"))
        query.add_all(service.get("handler"), frozenset(("type", "metadata", "chain")))
        query.add_all(service.get("listener"), frozenset(("type", "metadata", "chain")))
        query.add_all(node, _PARTS)
        scheme = "rudp" if kind == "rudp" else "rtcp"
        reading = urls.read_target(origin, f"{scheme}://{_text(service.get('addr')) or ':0'}/:1?{query}")
        self._warnings += reading.warnings
        local = {field: value for field, value in reading.layer.items() if field != "target"}
        targets = [self._target(target, name, kind) for target in _items(forwarder.get("nodes"))]
        if not targets:
            raise SettingsError(origin, None, "no forwarder with nodes; add one, so that requests have a target")
        put(local, find(CLIENT, "target"), origin, ",".join(targets))
        self._headers(local, _items(forwarder.get("nodes")), name)
        self._connectors.append(overlay(layer, local))

    def _visitor(self, node: Node, service: Map, name: str, kind: str) -> None:
        origin = f"{self._path}:{node.line}: {name}"
        handler = _map(service.get("handler"))
        layer = self._chain(_text(handler.get("chain")), node, name)
        if layer is None:
            return
        query = _Query(self, name, _UDP_VISITOR_KEYS if kind == "udp" else _VISITOR_KEYS)
        query.add_all(handler.get("metadata"))
        query.add_all(_map(service.get("listener")).get("metadata"))
        query.add_all(node, _PARTS)
        destinations = [_text(_map(one).get("addr")) for one in _items(_map(service.get("forwarder")).get("nodes"))]
        reading = urls.read_visitor(origin, f"{kind}://{_text(service.get('addr'))}/{','.join(destinations)}?{query}")
        self._warnings += reading.warnings
        self._visitors.append(overlay(layer, reading.layer))

    def _chain(self, chain: str, node: Node, name: str) -> Layer | None:
        """A chain to a tunnel: the server, and the proxies on the path to it; ``None`` if it is not in the file."""
        hops = self._hops(chain)
        if not hops:
            self.warn(node.line, name, f'ignored, because its chain "{chain}" is not in this file')
            return None
        nodes = [self._node(hop, chain) for hop in hops]
        layer = self._server(nodes[-1], f"chain {chain}")
        if len(nodes) > 1:
            proxies = urls.read_proxies([self._url(one, f"chain {chain}") for one in nodes[:-1]])
            self._warnings += proxies.warnings
            layer |= proxies.layer
        return layer

    def _hops(self, chain: str) -> tuple[Node, ...]:
        """The hops of a chain; those that are references are looked up."""
        named = {_text(_map(hop).get("name")): hop for hop in _items(self._top.get("hops"))}
        for node in _items(self._top.get("chains")):
            if _text(_map(node).get("name")) == chain:
                hops = _items(_map(node).get("hops"))
                return tuple(hop if "nodes" in _map(hop) else named.get(_text(_map(hop).get("name")), hop) for hop in hops)
        return ()

    def _node(self, hop: Node, chain: str) -> Node:
        nodes = _items(_map(hop).get("nodes"))
        if not nodes:
            raise SettingsError(f"{self._path}:{hop.line}: chain {chain}", None, "has a hop without nodes; add one")
        if len(nodes) > 1:
            self.warn(nodes[1].line, f"chain {chain}", "a hop can have only one node here; all but the first are ignored")
        return nodes[0]

    def _server(self, node: Node, name: str) -> Layer:
        reading = urls.read_server(*self._url(node, name))
        self._warnings += reading.warnings
        return reading.layer

    def _url(self, node: Node, name: str) -> tuple[str, str]:
        """A node of a chain as a URL, with its origin for errors."""
        keys = _map(node)
        connector, dialer = _map(keys.get("connector")), _map(keys.get("dialer"))
        query = _Query(self, name, _CLIENT_KEYS)
        query.add_all(connector.get("metadata"))
        query.add_all(dialer.get("metadata"))
        self._tls(query, keys, ("connector", "dialer"))
        query.add_all(keys.get("connector"), frozenset(("type", "metadata", "tls", "auth", "dialer")))
        query.add_all(keys.get("dialer"), frozenset(("type", "metadata", "tls", "auth")))
        query.add_all(node, _PARTS)
        kinds = _text(connector.get("type")) or "http", _text(dialer.get("type")) or "tcp"
        user = _user(connector.get("auth")) or _user(dialer.get("auth"))
        scheme = _PROXY_SCHEMES.get(kinds) or "+".join(kinds)
        return f"{self._path}:{node.line}: {name}", f"{scheme}://{user}{_text(keys.get('addr'))}?{query}"

    def _target(self, node: Node, name: str, kind: str) -> str:
        """A node of a forwarder as a target."""
        target = _map(node)
        text = _text(target.get("addr"))
        if kind == "runix":
            text = f"unix:{text}"
        elif kind == "rudp":
            text = f"udp://{text}"
        filters = [(key, _text(value)) for key, value in _map(target.get("filter")).items() if _text(value)]
        for key in target.keys() - {"name", "addr", "filter", "http"}:
            self.warn(node.line, name, f"{key} of a node has no equivalent here and is ignored")
        return text + ("?" + "&".join(f"{key}={quote(value, safe='/*:')}" for key, value in filters) if filters else "")

    def _headers(self, layer: Layer, nodes: tuple[Node, ...], name: str) -> None:
        """The header fields to set in requests, which must be the same for all targets of a connector."""
        settings = [_map(_map(node).get("http")) for node in nodes]
        hosts = {_text(http.get("host")) for http in settings}
        fields = [
            {key.text: _text(value) for key, value in header.entries} if isinstance(header, Keys) else {}
            for header in (http.get("requestheader") or http.get("header") for http in settings)
        ]
        if len(hosts) > 1 or any(one != fields[0] for one in fields):
            self.warn(nodes[0].line, name, "http differs between its nodes, which has no equivalent here, and is ignored")
            return
        for http in settings[:1]:
            for key in http.keys() - {"host", "header", "requestheader"}:
                self.warn(nodes[0].line, name, f"http.{key} of a node has no equivalent here and is ignored")
        origin = f"{self._path}:{nodes[0].line}: {name}"
        for host in filter(None, hosts):
            put(layer, find(CLIENT, "set-host"), origin, host)
        for field, value in fields[0].items():
            put(layer, find(CLIENT, "set-header"), origin, f"{field}={value}")

    def _tls(self, query: _Query, parts: Map, names: tuple[str, ...]) -> None:
        for name in names:
            tls: Any = _map(parts.get(name)).get("tls")
            for key, value in _map(tls).items():
                if key in _TLS_KEYS and isinstance(value, Text):
                    query.add(_TLS_KEYS[key], value.text)
                else:
                    self.warn(tls.line, name, f"tls.{key} has no equivalent here and is ignored")


def _user(node: Node | None) -> str:
    """``user:password@`` of an ``auth`` map."""
    auth = _map(node)
    if not auth:
        return ""
    return f"{quote(_text(auth.get('username')), safe='')}:{quote(_text(auth.get('password')), safe='')}@"
