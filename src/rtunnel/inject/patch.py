"""What was injected, as patches for kustomize instead of whole manifests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rtunnel.inject.resources import Resource, read_resources
from rtunnel.inject.yaml_text import block, compose, find, plain, typed

__all__ = ["patches"]

_MERGED_BY_NAME: Final = frozenset(("containers", "initContainers", "volumes"))
"""Lists whose items a strategic merge patch finds by their name; every other list is replaced as a whole."""


def patches(before: str, after: str) -> list[str]:
    """Strategic merge patches, one for each resource that is not what it was.

    :param before: manifests.
    :param after: the same with something added; resources that are only there have no patch.
    """
    former = {_identity(resource): resource for resource in read_resources(compose(before))}
    found = []
    for resource in read_resources(compose(after)):
        old = former.get(_identity(resource))
        change = None if old is None else _change(typed(old.node), typed(resource.node))
        if change:
            found.append("\n".join(block(_patch(resource, change))) + "\n")
    return found


def _identity(resource: Resource) -> tuple[str, str, str]:
    return resource.kind, resource.namespace, resource.name


def _patch(resource: Resource, change: dict[str, Any]) -> dict[str, Any]:
    """A change, with what says which resource it is for."""
    where = {"namespace": resource.namespace} if resource.namespace else {}
    return {
        "apiVersion": plain(find(resource.node, "apiVersion")),
        "kind": resource.kind,
        **change,
        "metadata": {"name": resource.name, **where, **change.get("metadata", {})},
    }


def _change(before: Any, after: Any, name: str = "") -> Any:
    """What has to be said to make one value of another; ``None`` for nothing.

    :param name: of the key whose value it is.
    """
    if before == after:
        # what is not changed may have any shape
        return None
    if isinstance(before, dict) and isinstance(after, dict):
        changed = {key: _change(before[key], value, key) if key in before else value for key, value in after.items()}
        return {key: value for key, value in changed.items() if value is not None} or None
    if name in _MERGED_BY_NAME and isinstance(before, list) and isinstance(after, list):
        return list(_changed_items(before, after)) or None
    return after


def _changed_items(before: list[Any], after: list[Any]) -> Iterator[Any]:
    former = {item["name"]: item for item in before}
    for item in after:
        change = _change(former[item["name"]], item) if item["name"] in former else item
        if change:
            yield {"name": item["name"], **change}
