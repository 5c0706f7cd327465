"""The routes to a service, Ingresses and HTTPRoutes, led to the server instead, and back."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

import yaml

from rtunnel.inject.resources import HTTP_ROUTE, INGRESS, Resource, Route
from rtunnel.inject.shape import ROUTE, fault
from rtunnel.inject.sidecar import Skipped, remove_keys
from rtunnel.inject.yaml_text import Edits, Node, find, items, plain

__all__ = ["ORIGINAL", "restore_route", "switch_route"]

ORIGINAL: Final = "rtunnel.dev/original-backends"
"""The annotation with what was replaced, in JSON: the server's name, and the texts of the backends in their order."""

TUNNEL_PORT: Final = 8421
ENTRYPOINT_PORT: Final = 80


def switch_route(edits: Edits, route: Route, services: Collection[str], server: str, path: str) -> int:
    """Lead the paths of a host that lead to some Services to the server, and the tunnel's own path as well.

    :param server: the name of the server's Service.
    :param path: where clients join.
    :returns: how many paths were led there.
    :raises Skipped: none is to be, or they are already.
    """
    resource = route.resource
    if ORIGINAL in resource.annotations:
        raise Skipped("leads to the server already")
    backends = [backend for backend in route.backends if backend.service in services]
    if not backends:
        raise Skipped("leads to other Services")
    if not isinstance(find(resource.node, "metadata"), yaml.MappingNode):
        raise Skipped("has no metadata, so no place for what is needed to undo it")
    wrong = fault(resource.node, ROUTE)
    if wrong:
        raise Skipped(wrong)
    for backend in backends:
        edits.replace(backend.node, _backend(resource.kind, server, "entrypoint"))
    edits.append_item(route.paths, _tunnel_path(resource.kind, server, path))
    _annotate(edits, resource, json.dumps({"server": server, "backends": [edits.source(backend.node) for backend in backends]}))
    return len(backends)


def restore_route(edits: Edits, resource: Resource) -> None:
    """Lead an Ingress or HTTPRoute to its own Services again.

    :raises Skipped: it was not led elsewhere.
    """
    text = resource.annotations.get(ORIGINAL)
    if text is None:
        raise Skipped("was not led to the server")
    try:
        found = json.loads(text)
        server, originals = str(found["server"]), list(map(str, found["backends"]))
    except (ValueError, LookupError, TypeError, RecursionError):
        raise Skipped(f"its annotation {ORIGINAL} is damaged; set its backends by hand") from None
    for paths in _lists_of_paths(resource):
        for item in items(paths):
            if plain(find(item, "backend", "service", "port", "name")) == "tunnel" or _is_tunnel_rule(item, server):
                edits.remove_items(paths, [item])
            else:
                for backend in _backends(resource.kind, item):
                    if plain(find(backend, "name")) == server and originals:
                        edits.restore(backend, originals.pop(0))
    metadata = find(resource.node, "metadata")
    annotations = find(metadata, "annotations")
    if metadata is not None and annotations is not None:
        remove_keys(edits, None, (metadata, "annotations"), annotations, (ORIGINAL,))


def _lists_of_paths(resource: Resource) -> list[Node]:
    if resource.kind == INGRESS:
        found = [find(rule, "http", "paths") for rule in items(find(resource.node, "spec", "rules"))]
    else:
        found = [find(resource.node, "spec", "rules")]
    return [paths for paths in found if isinstance(paths, yaml.SequenceNode)]


def _backends(kind: str, item: Node) -> list[Node]:
    if kind == INGRESS:
        service = find(item, "backend", "service")
        return [] if service is None else [service]
    return items(find(item, "backendRefs"))


def _is_tunnel_rule(item: Node, server: str) -> bool:
    """Whether a rule of an HTTPRoute is the one of the tunnel's path."""
    refs = items(find(item, "backendRefs"))
    return [(plain(find(ref, "name")), plain(find(ref, "port"))) for ref in refs] == [(server, str(TUNNEL_PORT))]


def _backend(kind: str, server: str, port: str) -> dict[str, Any]:
    if kind == HTTP_ROUTE:
        return {"name": server, "port": TUNNEL_PORT if port == "tunnel" else ENTRYPOINT_PORT}
    return {"name": server, "port": {"name": port}}


def _tunnel_path(kind: str, server: str, path: str) -> dict[str, Any]:
    """The path at which clients join; exact, so that everything below it stays the service's."""
    backend = _backend(kind, server, "tunnel")
    if kind == HTTP_ROUTE:
        return {"matches": [{"path": {"type": "Exact", "value": path}}], "backendRefs": [backend]}
    return {"path": path, "pathType": "Exact", "backend": {"service": backend}}


def _annotate(edits: Edits, resource: Resource, value: str) -> None:
    metadata = find(resource.node, "metadata")
    annotations = find(metadata, "annotations")
    if isinstance(annotations, yaml.MappingNode) and annotations.value:
        edits.append_key(annotations, ORIGINAL, value)
    elif metadata is not None:
        edits.fill(metadata, "annotations", {ORIGINAL: value})
