"""The resources of manifests: what they are called, their pods, and which Services and routes lead to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import attrs
import yaml

from rtunnel.inject.yaml_text import Node, find, items, plain, strings

__all__ = ["HTTP_ROUTE", "INGRESS", "Backend", "Resource", "Route", "read_resources"]

_TEMPLATES: Final = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Kinds with pods, and where their template is."""
INGRESS: Final = "Ingress"
HTTP_ROUTE: Final = "HTTPRoute"


@attrs.frozen
class Backend:
    """Where a path of a host leads.

    :ivar node: the map with its name and port, ``service:`` of an Ingress or an item of ``backendRefs:``.
    :ivar service: the name of the Service.
    :ivar port: its port, a number or a name.
    """

    node: Node
    service: str
    port: str


@attrs.frozen
class Route:
    """What an Ingress or HTTPRoute says about a host.

    :ivar resource: that says it.
    :ivar paths: the list of paths or rules, to which one may be added.
    :ivar backends: of all paths.
    """

    resource: Resource
    paths: Node
    backends: tuple[Backend, ...]


@attrs.frozen(eq=False)
class Resource:
    """One resource.

    :ivar node: its document, or its item of a ``List``.
    """

    node: Node

    @property
    def kind(self) -> str:
        """Such as ``Deployment``."""
        return str(plain(find(self.node, "kind")) or "")

    @property
    def name(self) -> str:
        """Its name."""
        return str(plain(find(self.node, "metadata", "name")) or "")

    @property
    def namespace(self) -> str:
        """Its namespace; empty if it does not say."""
        return str(plain(find(self.node, "metadata", "namespace")) or "")

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return strings(find(self.node, "metadata", "labels"))

    @property
    def annotations(self) -> dict[str, str]:
        """Its annotations."""
        return strings(find(self.node, "metadata", "annotations"))

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"

    # -- pods

    @property
    def template(self) -> Node | None:
        """The template of its pods, if it has any."""
        path = _TEMPLATES.get(self.kind)
        return None if path is None else find(self.node, *path)

    @property
    def pod(self) -> Node | None:
        """The ``spec`` of its pods."""
        return find(self.template, "spec")

    @property
    def pod_labels(self) -> dict[str, str]:
        """The labels of its pods."""
        return strings(find(self.template, "metadata", "labels"))

    def containers(self) -> list[Node]:
        """The containers of its pods that are no init containers."""
        return items(find(self.pod, "containers"))

    # -- Services

    def selects(self, workload: Resource) -> bool:
        """Whether it is a Service whose pods are those of a workload."""
        selector = strings(find(self.node, "spec", "selector"))
        same = self.kind == "Service" and self.namespace == workload.namespace
        return same and bool(selector) and selector.items() <= workload.pod_labels.items()

    def target_port(self, port: str) -> str:
        """Where a port of a Service leads in its pods: a number, or the name of a container's port. Empty if there is none."""
        for node in items(find(self.node, "spec", "ports")):
            number, name = plain(find(node, "port")), plain(find(node, "name"))
            if port in (number, name):
                return str(plain(find(node, "targetPort")) or number or "")
        return ""

    # -- routes

    def routes(self, host: str) -> Iterator[Route]:
        """What it says about a host."""
        if self.kind == INGRESS:
            for rule in items(find(self.node, "spec", "rules")):
                paths = find(rule, "http", "paths")
                if plain(find(rule, "host")) == host and isinstance(paths, yaml.SequenceNode):
                    found = (_ingress_backend(find(path, "backend", "service")) for path in paths.value)
                    yield Route(self, paths, tuple(filter(None, found)))
        elif self.kind == HTTP_ROUTE and host in (plain(find(self.node, "spec", "hostnames")) or ()):
            rules = find(self.node, "spec", "rules")
            if isinstance(rules, yaml.SequenceNode):
                refs = (ref for rule in rules.value for ref in items(find(rule, "backendRefs")))
                yield Route(self, rules, tuple(filter(None, map(_route_backend, refs))))


def _ingress_backend(node: Node | None) -> Backend | None:
    port = plain(find(node, "port"))
    if not isinstance(port, dict) or node is None:
        return None
    return Backend(node, str(plain(find(node, "name"))), str(port.get("number") or port.get("name") or ""))


def _route_backend(node: Node) -> Backend | None:
    if plain(find(node, "kind")) not in (None, "Service"):
        return None
    return Backend(node, str(plain(find(node, "name"))), str(plain(find(node, "port")) or ""))


def read_resources(documents: Iterable[Node]) -> list[Resource]:
    """The resources of documents; those of a ``List`` one by one."""
    found: list[Resource] = []
    for document in documents:
        listed = find(document, "items")
        if str(plain(find(document, "kind"))).endswith("List") and isinstance(listed, yaml.SequenceNode):
            found += [Resource(item) for item in listed.value if isinstance(item, yaml.MappingNode)]
        else:
            found.append(Resource(document))
    return found
