"""The sidecar of a pod: a client of the tunnel, so that the pod serves its share of the requests."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import attrs
import yaml

from rtunnel.inject.context import ENVIRONMENT, NOTHING, PYTHON, TOKEN, Additions, Context, additions
from rtunnel.inject.resources import Resource
from rtunnel.inject.shape import TEMPLATE, fault
from rtunnel.inject.yaml_text import Edits, Node, find, items, plain

__all__ = ["AUTH", "CONTAINER", "INJECTED", "SECRET", "Added", "Sidecar", "Skipped", "add_sidecar", "remove_sidecar", "servers_of"]

CONTAINER: Final = "rtunnel"
"""The name of the sidecar's container."""
NO_TOKEN: Final = "rtunnel-no-token"
"""The name of the empty volume that is mounted where the service account's token would be."""
SECRET: Final = "rtunnel"
"""The name of the Secret with the IDs of the tunnels, one key for each host, and the server's rules."""
AUTH: Final = "auth"
"""The key of the Secret with the sidecars' user and password, ``USER:PASSWORD``; missing where the server has no users."""
INJECTED: Final = "rtunnel.dev/injected"
"""The annotation of a pod template: the host whose requests its pods serve."""
PAUSED: Final = "rtunnel.dev/pre-stop"
"""The annotation of a pod template: the container that was given a pause before it stops."""

_PAUSE: Final = 12
"""Seconds for which the application goes on when the pod stops, before it is told to."""
_DRAIN: Final = _PAUSE + 8
"""Seconds that the sidecar's streams get when the pod stops: so what is open then ends as the application ends it."""
_GRACE: Final = 30
"""Seconds that a pod gets to stop where it does not say."""
_LEAVE: Final = "import os, signal; os.kill(1, signal.SIGTERM)"
"""Has the client leave the tunnel, as a program of Python."""
_ADMIN_PORT: Final = 8480


def servers_of(server: str) -> str:
    """The name of the headless Service with the address of each server."""
    return f"{server}-servers"


class Skipped(Exception):
    """A resource is left as it is; the text says why."""


@attrs.frozen(kw_only=True)
class Sidecar:
    """What the sidecar is to be.

    :ivar host: whose requests the pod serves.
    :ivar port: of the application in the pod, a number or the name of a container's port.
    :ivar server: the name of the server's Service.
    :ivar image: of rtunnel.
    :ivar container: of the application; empty for the one with the port, or the first.
    :ivar native: whether it is an init container that goes on running, which needs Kubernetes 1.29.
    :ivar context: what developers may get of the pod.
    """

    host: str
    port: str
    server: str
    image: str
    container: str = ""
    native: bool = True
    context: Context = NOTHING


@attrs.frozen
class Added:
    """What became of a workload, for the report.

    :ivar target: what the sidecar forwards to.
    :ivar notes: what people should know.
    """

    target: str
    notes: tuple[str, ...]


def add_sidecar(edits: Edits, workload: Resource, wanted: Sidecar) -> Added:
    """Add the sidecar to the pods of a workload.

    :raises Skipped: it cannot have one.
    """
    pod, template = workload.pod, workload.template
    if pod is None or template is None or not workload.containers():
        raise Skipped("has no pods")
    wrong = fault(template, TEMPLATE)
    if wrong:
        raise Skipped(f"in its template, {wrong}")
    if plain(find(pod, "hostNetwork")) == "true":
        raise Skipped("hostNetwork: its ports are those of the node, and other pods would collide with the sidecar's")
    if any(plain(find(container, "name")) == CONTAINER for container in _all_containers(pod)):
        raise Skipped(f"has a container {CONTAINER} already")
    application = _application(workload, wanted)
    port = _number(application, wanted.port)
    context = additions(pod, application, wanted.context)
    has_token = plain(find(pod, "automountServiceAccountToken")) != "false"
    before = [_hardened(wanted.image, container, has_token) for container in context.init_containers]
    sidecar = _hardened(wanted.image, _container(wanted, port, pod, context), has_token)
    annotations = {INJECTED: wanted.host}
    if wanted.native:
        _append(edits, pod, "initContainers", [*before, sidecar])
    else:
        _append(edits, pod, "initContainers", before)
        _append(edits, pod, "containers", [sidecar])
    if _has_time(pod):
        annotations |= _pause(edits, application)
    else:
        context.notes.append(
            f"terminationGracePeriodSeconds is below {_PAUSE + 1}: requests may fail when a pod stops, since its application ends "
            "before the sidecar has left"
        )
    no_token = {"name": NO_TOKEN, "emptyDir": {"medium": "Memory", "sizeLimit": "4Ki"}}
    _append(edits, pod, "volumes", [*([no_token] if has_token else []), *context.volumes])
    _annotate(edits, template, annotations)
    return Added(f"{plain(find(application, 'name'))}:{port}", tuple(context.notes))


def remove_sidecar(edits: Edits, workload: Resource) -> None:
    """Take the sidecar out again, and all that came with it.

    :raises Skipped: it has none.
    """
    pod, template = workload.pod, workload.template
    annotations = find(template, "metadata", "annotations")
    if pod is None or template is None or find(annotations, INJECTED) is None:
        raise Skipped("was not injected")
    paused = plain(find(annotations, PAUSED))
    for name in ("initContainers", "containers"):
        _remove_named(edits, pod, name, (CONTAINER, ENVIRONMENT))
    _remove_named(edits, pod, "volumes", (NO_TOKEN, ENVIRONMENT))
    for container in workload.containers():
        if paused is not None and plain(find(container, "name")) == paused:
            edits.remove_keys(container, ("lifecycle",))
    _remove_annotations(edits, template)


def _all_containers(pod: Node) -> Iterator[Node]:
    for name in ("initContainers", "containers"):
        yield from items(find(pod, name))


def _application(workload: Resource, wanted: Sidecar) -> Node:
    """The container of the application."""
    containers = workload.containers()
    names = [str(plain(find(container, "name"))) for container in containers]
    if wanted.container:
        if wanted.container not in names:
            raise Skipped(f"has no container {wanted.container}, but {', '.join(names)}")
        return containers[names.index(wanted.container)]
    for container in containers:
        if any(wanted.port in (plain(find(port, "name")), plain(find(port, "containerPort"))) for port in _ports(container)):
            return container
    return containers[0]


def _ports(container: Node) -> list[Node]:
    return items(find(container, "ports"))


def _number(container: Node, port: str) -> str:
    """The number of a port."""
    if port.isdecimal():
        return port
    for node in _ports(container):
        if plain(find(node, "name")) == port:
            return str(plain(find(node, "containerPort")))
    raise Skipped(f'no container has a port named "{port}"; give its number with --port')


def _free_port(pod: Node) -> int:
    """A port for the sidecar's probes that no container names."""
    named = {plain(find(port, "containerPort")) for container in _all_containers(pod) for port in _ports(container)}
    return next(port for port in range(_ADMIN_PORT, 65536) if str(port) not in named)


def _container(wanted: Sidecar, port: str, pod: Node, context: Additions) -> dict[str, Any]:
    admin = _free_port(pod)
    container: dict[str, Any] = {
        "name": CONTAINER,
        "args": [
            "client",
            f"--server=ws://{servers_of(wanted.server)}:8421/proxy",
            # each server behind that name, so that a new one has its clients before visitors come to it
            "--join=all",
            "--role=pod",
            f"--target=:{port}",
            "--weight=1",
            "--name=$(POD_NAME)",
            f"--admin=:{admin}",
            f"--drain={_DRAIN}s",
            *context.arguments,
        ],
        "env": [
            {"name": "RTUNNEL_TUNNEL", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": wanted.host}}},
            # where the server has users, the sidecar is one of them
            {"name": "RTUNNEL_AUTH", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": AUTH, "optional": True}}},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
    }
    if wanted.native:
        container["restartPolicy"] = "Always"
    if wanted.native and plain(find(pod, "shareProcessNamespace")) != "true":
        # it would be told to stop only after the application has; this is run when the pod begins to stop
        container["lifecycle"] = {"preStop": {"exec": {"command": [PYTHON, "-I", "-S", "-c", _LEAVE]}}}
    return container | {
        # ready once the tunnel is joined: a rolling update keeps the old pod until then
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": admin}, "periodSeconds": 2, "timeoutSeconds": 2},
        "livenessProbe": {
            "httpGet": {"path": "/livez", "port": admin},
            "initialDelaySeconds": 10,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
        },
        "volumeMounts": context.mounts,
    }


def _hardened(image: str, container: dict[str, Any], has_token: bool) -> dict[str, Any]:
    """One of our containers, with what all of them have.

    :param has_token: whether the pod has a service account's token, which is kept out of the container.
    """
    hidden = [{"name": NO_TOKEN, "mountPath": TOKEN, "readOnly": True}] if has_token else []
    mounts = [*hidden, *container.pop("volumeMounts")]
    name = container.pop("name")
    return {
        "name": name,
        "image": image,
        **container,
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"volumeMounts": mounts} if mounts else {}),
    }


def _has_time(pod: Node) -> bool:
    """Whether the pod may take long enough to stop for the application to pause before."""
    grace = str(plain(find(pod, "terminationGracePeriodSeconds")) or _GRACE)
    # more digits are no number that Kubernetes takes, and thousands are none that Python does
    return grace.isdecimal() and len(grace) < 10 and int(grace) > _PAUSE


def _pause(edits: Edits, application: Node) -> dict[str, str]:
    """Have the application stop some time after the sidecar has left the tunnel: until then requests still reach it."""
    if find(application, "lifecycle") is not None:
        return {}
    edits.append_key(application, "lifecycle", {"preStop": {"sleep": {"seconds": _PAUSE}}})
    return {PAUSED: str(plain(find(application, "name")))}


def _append(edits: Edits, pod: Node, name: str, added: Sequence[Any]) -> None:
    """Add items to a list of the pod, if there are any."""
    present = find(pod, name)
    if isinstance(present, yaml.SequenceNode) and present.value:
        for item in added:
            edits.append_item(present, item)
    elif added:
        edits.fill(pod, name, list(added))


def _annotate(edits: Edits, template: Node, annotations: dict[str, str]) -> None:
    metadata = find(template, "metadata")
    present = find(metadata, "annotations")
    if isinstance(present, yaml.MappingNode) and present.value:
        for name, value in annotations.items():
            edits.append_key(present, name, value)
    elif isinstance(metadata, yaml.MappingNode) and metadata.value:
        edits.fill(metadata, "annotations", annotations)
    else:
        edits.fill(template, "metadata", {"annotations": annotations})


def _remove_annotations(edits: Edits, template: Node) -> None:
    metadata = find(template, "metadata")
    annotations = find(metadata, "annotations")
    if metadata is None or annotations is None:
        return
    remove_keys(edits, (template, "metadata"), (metadata, "annotations"), annotations, (INJECTED, PAUSED))


def remove_keys(
    edits: Edits, outer: tuple[Node, str] | None, parent: tuple[Node, str], mapping: Node, names: Collection[str]
) -> None:
    """Take keys out of a map, and the map itself if nothing else is in it, and what it is in likewise."""
    present = {str(key.value) for key, _ in mapping.value}
    if present - set(names):
        edits.remove_keys(mapping, names)
    else:
        node, name = outer if outer is not None and len(parent[0].value) == 1 else parent
        edits.remove_keys(node, (name,))


def _remove_named(edits: Edits, pod: Node, name: str, item_names: Collection[str]) -> None:
    """Take the items of those names out of a list, and the list itself if nothing else is in it."""
    sequence = find(pod, name)
    found = [item for item in items(sequence) if plain(find(item, "name")) in item_names]
    if sequence is None or not found:
        return
    if len(found) == len(items(sequence)):
        edits.remove_keys(pod, (name,))
    else:
        edits.remove_items(sequence, found)
