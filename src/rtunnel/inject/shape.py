"""Whether resources have the shape that Kubernetes gives them, as far as what is changed depends on it.

The API server refuses others, but manifests get here before they get there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs
import yaml

from rtunnel.inject.yaml_text import Node, plain

__all__ = ["ROUTE", "SECRET", "TEMPLATE", "fault"]


@attrs.frozen
class _Named:
    """A list of maps, each with a name of its own.

    :ivar item: the shape of each map.
    """

    item: dict[str, Any]


_TEXT: Final = "a text or number"
_MAP: Final[dict[str, Any]] = {}
"""With anything in it."""
_METADATA: Final = {"annotations": _MAP, "labels": _MAP}
_CONTAINERS: Final = _Named(
    {
        "env": [
            {
                "name": _TEXT,
                "value": _TEXT,
                "valueFrom": {
                    "secretKeyRef": {"name": _TEXT},
                    "configMapKeyRef": {"name": _TEXT},
                    "resourceFieldRef": _MAP,
                },
            }
        ],
        "envFrom": [{"prefix": _TEXT, "secretRef": {"name": _TEXT}, "configMapRef": {"name": _TEXT}}],
        "ports": [{"name": _TEXT, "containerPort": _TEXT}],
        "volumeMounts": [{"name": _TEXT, "mountPath": _TEXT}],
    }
)
TEMPLATE: Final = {
    "metadata": _METADATA,
    "spec": {
        "initContainers": _CONTAINERS,
        "containers": _CONTAINERS,
        "volumes": _Named({"projected": {"sources": [_MAP]}}),
    },
}
"""Of pods."""
ROUTE: Final = {"metadata": _METADATA}
"""An Ingress or HTTPRoute."""
SECRET: Final = {"metadata": _METADATA, "data": _MAP, "stringData": _MAP}


def fault(node: Node | None, shape: Any, path: str = "") -> str:
    """What is wrong with the shape of a node, in words; empty if nothing is. A value that is missing or null is right.

    :param path: of keys and indices to the node.
    """
    return next(_faults(node, shape, path), "")


def _faults(node: Node | None, shape: Any, path: str) -> Iterator[str]:
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return
    if isinstance(shape, str):
        if not isinstance(node, yaml.ScalarNode):
            yield f"{path} is not {shape}"
    elif isinstance(shape, dict):
        yield from _faults_of_map(node, shape, path)
    elif not isinstance(node, yaml.SequenceNode):
        yield f"{path} is not a list"
    else:
        item = shape.item if isinstance(shape, _Named) else shape[0]
        for index, one in enumerate(node.value):
            where = f"{path}[{index}]"
            yield from _faults(one, item, where) if isinstance(one, yaml.MappingNode) else (f"{where} is not a map",)
        if isinstance(shape, _Named):
            yield from _faults_of_names([plain(one).get("name") for one in node.value], path)


def _faults_of_map(node: Node, shape: dict[str, Any], path: str) -> Iterator[str]:
    if not isinstance(node, yaml.MappingNode):
        yield f"{path or 'it'} is not a map"
        return
    found: set[str] = set()
    for key, value in node.value:
        name = str(key.value)
        where = f"{path}.{name}".lstrip(".")
        if not isinstance(key, yaml.ScalarNode):
            yield f"a key of {path or 'it'} is not a text"
        elif name in found:
            yield f"{where} is there twice"
        elif name in shape:
            yield from _faults(value, shape[name], where)
        found.add(name)


def _faults_of_names(names: list[Any], path: str) -> Iterator[str]:
    for index, name in enumerate(names):
        if not name or not isinstance(name, str):
            yield f"{path}[{index}] has no name"
        elif name in names[:index]:
            yield f"{path}[{index}] has the name of another, {name}"
