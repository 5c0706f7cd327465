"""A configuration file of gost v3, as far as it is about tunnels, as layers of settings.

Each service of it becomes the URLs that say the same, so that keys, refusals and warnings are those of :mod:`rtunnel.urls`. The
structure was read in go-gost/gost.run (``docs/reference/configuration/file.md``, ``docs/tutorials/reverse-proxy-tunnel.md``)
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
    """What a file of gost asks for that rtunnel can do.

    :ivar listeners: a layer for each ``tunnel`` service.
    :ivar connectors: a layer for each ``rtcp``, ``rudp`` or ``runix`` service with a chain to a tunnel.
    :ivar visitors: a layer for each ``tcp`` or ``udp`` service with a chain to a tunnel.
    :ivar warnings: what has no equal, one line each.
    """

    listeners: tuple[Layer, ...]
    connectors: tuple[Layer, ...]
    visitors: tuple[Layer, ...]
    warnings: tuple[str, ...]


def is_gost(path: str) -> bool:
    """Whether a file is one of gost: it has ``services:``."""
    tree = document.read(path)
    return isinstance(tree, Keys) and "services" in _map(tree)


def read_gost(path: str) -> GostFile:
    """Read a file of gost.

    :raises SettingsError: it cannot be read, or asks for something that must not be left out, such as a password.
    """
    tree = document.read(path)
    if not isinstance(tree, Keys):
        raise SettingsError(path, None, "is no configuration file of gost; it begins with services:")
    return _Reader(path, _map(tree)).read()


Map = dict[str, Node]


def _map(node: Node | None) -> Map:
    """The keys of a map, in lower case, as gost compares them; empty for anything else."""
    return {key.text.lower(): value for key, value in node.entries} if isinstance(node, Keys) else {}


def _items(node: Node | None) -> tuple[Node, ...]:
    return node.items if isinstance(node, Items) else ()


def _text(node: Node | None) -> str:
    return node.text if isinstance(node, Text) and not node.empty else ""


def _known(rows: Iterable[Option], others: frozenset[str]) -> frozenset[str]:
    ours = (name for option in rows for key in option.keys for name in key.names)
    return frozenset(name.lower() for name in (*ours, *others, *ignored_gost_keys.ACCESS))


# what is said in a key of its own in a file, and in the query of a URL
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
    """The query of a URL, collected from the several places of a file; who speaks first wins."""

    def __init__(self, reader: _Reader, where: str, known: frozenset[str]) -> None:
        self._reader = reader
        self._where = where
        self._known = known
        self._pairs: dict[str, tuple[str, str]] = {}

    def add(self, key: str, value: str) -> None:
        self._pairs.setdefault(key.lower(), (key, value))

    def take(self, node: Node | None, skip: frozenset[str] = frozenset(("metadata",))) -> None:
        """Take the keys of a map, and those of its ``metadata``; warn of what has no equal."""
        if not isinstance(node, Keys):
            return
        for key, value in node.entries:
            name = key.text
            if name.lower() in skip:
                continue
            if not isinstance(value, Text):
                self._reader.warn(key.line, self._where, f"{name} has no equal here; it is left out")
            elif value.empty:
                continue
            elif name.lower() in self._known:
                self.add(name, value.text)
            else:
                self._reader.warn(key.line, self._where, f"{name} has no equal here; it is left out")

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
                self.warn(node.line, name, f'a service with the handler "{kind}" has no equal here; it is left out')
        for key in self._top:
            if key not in ("services", "chains", "hops", "ingresses", "authers"):
                self._warnings.append(f"{self._path}: {key} has no equal here; it is left out")
        return GostFile(tuple(self._listeners), tuple(self._connectors), tuple(self._visitors), tuple(self._warnings))

    # -- a server

    def _listener(self, node: Node, service: Map, name: str) -> None:
        origin = f"{self._path}:{node.line}: {name}"
        handler, listener = _map(service.get("handler")), _map(service.get("listener"))
        metadata = _map(handler.get("metadata"))
        query = _Query(self, name, _SERVER_KEYS)
        for key, value in self._rules(metadata, name):
            query.add(key, value)
        entrypoints, apart = self._entrypoints(metadata, origin, name)
        if entrypoints:
            query.add("entrypoint", ",".join(entrypoints))
        special = frozenset(("ingress", "entrypoints", "tunnel"))
        query.take(handler.get("metadata"), special)
        query.take(listener.get("metadata"), special)
        self._tls(query, service, ("handler", "listener"))
        query.take(service.get("handler"), frozenset(("type", "metadata", "tls", "chain", "auth")))
        query.take(service.get("listener"), frozenset(("type", "metadata", "tls", "chain", "auth")))
        query.take(node, _PARTS)
        user = _user(handler.get("auth")) or _user(listener.get("auth"))
        scheme = f"tunnel+{_text(listener.get('type')) or 'tcp'}"
        reading = urls.read_listener(origin, f"{scheme}://{user}{_text(service.get('addr'))}?{query}")
        self._warnings += reading.warnings
        self._listeners += [reading.layer, *apart]

    def _entrypoints(self, metadata: Map, origin: str, name: str) -> tuple[list[str], list[Layer]]:
        """The entrypoints with the rules of the service, and those with an ingress of their own, each a layer."""
        shared = [_text(metadata.get("entrypoint"))] if _text(metadata.get("entrypoint")) else []
        apart: list[Layer] = []
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
            apart.append(layer)
        return shared, apart

    def _rules(self, metadata: Map, name: str) -> Iterator[tuple[str, str]]:
        """The rules of a tunnel service, as keys of a URL: its own text, those of its ingress, the file of its ingress."""
        rules = [_text(metadata.get("tunnel"))] if _text(metadata.get("tunnel")) else []
        wanted = _text(metadata.get("ingress"))
        file = ""
        for node in _items(self._top.get("ingresses")) if wanted else ():
            ingress = _map(node)
            if _text(ingress.get("name")) != wanted:
                continue
            given = map(_map, _items(ingress.get("rules")))
            rules += [f"{_text(rule.get('hostname'))}:{_text(rule.get('endpoint'))}" for rule in given]
            file = _text(_map(ingress.get("file")).get("path"))
            for key in ingress.keys() - {"name", "rules", "file", "reload"}:
                self.warn(node.line, f"ingress {wanted}", f"{key} has no equal here; only rules and files of them are taken")
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
        layer = self._way(_text(listener.get("chain")) or _text(handler.get("chain")), node, name)
        if layer is None:
            return
        forwarder = _map(service.get("forwarder"))
        query = _Query(self, name, _UDP_TARGET_KEYS if kind == "rudp" else _TARGET_KEYS)
        query.take(handler.get("metadata"))
        query.take(listener.get("metadata"))
        query.take(forwarder.get("selector"))
        query.take(service.get("handler"), frozenset(("type", "metadata", "chain")))
        query.take(service.get("listener"), frozenset(("type", "metadata", "chain")))
        query.take(node, _PARTS)
        scheme = "rudp" if kind == "rudp" else "rtcp"
        reading = urls.read_target(origin, f"{scheme}://{_text(service.get('addr')) or ':0'}/:1?{query}")
        self._warnings += reading.warnings
        local = {field: given for field, given in reading.layer.items() if field != "target"}
        targets = [self._target(target, name, kind) for target in _items(forwarder.get("nodes"))]
        if not targets:
            raise SettingsError(origin, None, "has no forwarder with nodes, so nothing says where requests go")
        put(local, find(CLIENT, "target"), origin, ",".join(targets))
        self._headers(local, _items(forwarder.get("nodes")), name)
        self._connectors.append(overlay(layer, local))

    def _visitor(self, node: Node, service: Map, name: str, kind: str) -> None:
        origin = f"{self._path}:{node.line}: {name}"
        handler = _map(service.get("handler"))
        layer = self._way(_text(handler.get("chain")), node, name)
        if layer is None:
            return
        query = _Query(self, name, _UDP_VISITOR_KEYS if kind == "udp" else _VISITOR_KEYS)
        query.take(handler.get("metadata"))
        query.take(_map(service.get("listener")).get("metadata"))
        query.take(node, _PARTS)
        destinations = [_text(_map(one).get("addr")) for one in _items(_map(service.get("forwarder")).get("nodes"))]
        reading = urls.read_visitor(origin, f"{kind}://{_text(service.get('addr'))}/{','.join(destinations)}?{query}")
        self._warnings += reading.warnings
        self._visitors.append(overlay(layer, reading.layer))

    def _way(self, chain: str, node: Node, name: str) -> Layer | None:
        """A chain to a tunnel: the server, and the proxies on the way; ``None`` when it leads nowhere."""
        hops = self._hops(chain)
        if not hops:
            self.warn(node.line, name, f'it leads to no chain of this file ("{chain}"), so it joins no tunnel; it is left out')
            return None
        nodes = [self._node(hop, chain) for hop in hops]
        layer = self._server(nodes[-1], f"chain {chain}")
        if len(nodes) > 1:
            proxies = urls.read_proxies([self._url(one, f"chain {chain}") for one in nodes[:-1]])
            self._warnings += proxies.warnings
            layer |= proxies.layer
        return layer

    def _hops(self, chain: str) -> tuple[Node, ...]:
        """The hops of a chain, those that are only named looked up."""
        named = {_text(_map(hop).get("name")): hop for hop in _items(self._top.get("hops"))}
        for node in _items(self._top.get("chains")):
            if _text(_map(node).get("name")) == chain:
                hops = _items(_map(node).get("hops"))
                return tuple(hop if "nodes" in _map(hop) else named.get(_text(_map(hop).get("name")), hop) for hop in hops)
        return ()

    def _node(self, hop: Node, chain: str) -> Node:
        nodes = _items(_map(hop).get("nodes"))
        if not nodes:
            raise SettingsError(f"{self._path}:{hop.line}: chain {chain}", None, "has a hop without nodes")
        if len(nodes) > 1:
            self.warn(nodes[1].line, f"chain {chain}", "a hop has one node here; the first one is taken")
        return nodes[0]

    def _server(self, node: Node, name: str) -> Layer:
        reading = urls.read_server(*self._url(node, name))
        self._warnings += reading.warnings
        return reading.layer

    def _url(self, node: Node, name: str) -> tuple[str, str]:
        """A node of a chain as a URL, with the place to blame."""
        place = _map(node)
        connector, dialer = _map(place.get("connector")), _map(place.get("dialer"))
        query = _Query(self, name, _CLIENT_KEYS)
        query.take(connector.get("metadata"))
        query.take(dialer.get("metadata"))
        self._tls(query, place, ("connector", "dialer"))
        query.take(place.get("connector"), frozenset(("type", "metadata", "tls", "auth", "dialer")))
        query.take(place.get("dialer"), frozenset(("type", "metadata", "tls", "auth")))
        query.take(node, _PARTS)
        kinds = _text(connector.get("type")) or "http", _text(dialer.get("type")) or "tcp"
        user = _user(connector.get("auth")) or _user(dialer.get("auth"))
        scheme = _PROXY_SCHEMES.get(kinds) or "+".join(kinds)
        return f"{self._path}:{node.line}: {name}", f"{scheme}://{user}{_text(place.get('addr'))}?{query}"

    def _target(self, node: Node, name: str, kind: str) -> str:
        """A node of a forwarder as the text of a target."""
        target = _map(node)
        text = _text(target.get("addr"))
        if kind == "runix":
            text = f"unix:{text}"
        elif kind == "rudp":
            text = f"udp://{text}"
        filters = [(key, _text(value)) for key, value in _map(target.get("filter")).items() if _text(value)]
        for key in target.keys() - {"name", "addr", "filter", "http"}:
            self.warn(node.line, name, f"{key} of a node has no equal here; it is left out")
        return text + ("?" + "&".join(f"{key}={quote(value, safe='/*:')}" for key, value in filters) if filters else "")

    def _headers(self, layer: Layer, nodes: tuple[Node, ...], name: str) -> None:
        """What requests are given on their way to the targets; here it is the same for all of a connector."""
        said = [_map(_map(node).get("http")) for node in nodes]
        hosts = {_text(http.get("host")) for http in said}
        fields = [
            {key.text: _text(value) for key, value in asked.entries} if isinstance(asked, Keys) else {}
            for asked in (http.get("requestheader") or http.get("header") for http in said)
        ]
        if len(hosts) > 1 or any(one != fields[0] for one in fields):
            self.warn(nodes[0].line, name, "http of its nodes is not the same for all, which has no equal here; it is left out")
            return
        for http in said[:1]:
            for key in http.keys() - {"host", "header", "requestheader"}:
                self.warn(nodes[0].line, name, f"http.{key} of a node has no equal here; it is left out")
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
                    self.warn(tls.line, name, f"tls.{key} has no equal here; it is left out")


def _user(node: Node | None) -> str:
    """``user:password@`` of an ``auth`` map."""
    auth = _map(node)
    if not auth:
        return ""
    return f"{quote(_text(auth.get('username')), safe='')}:{quote(_text(auth.get('password')), safe='')}@"
