"""What a namespace needs once: the server, and the Secret with the IDs of its tunnels and the server's rules."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import attrs
import yaml

from rtunnel.inject.resources import Resource
from rtunnel.inject.shape import SECRET as SECRET_SHAPE
from rtunnel.inject.shape import fault
from rtunnel.inject.sidecar import AUTH, SECRET, Skipped, servers_of
from rtunnel.inject.yaml_text import Edits, Node, block, find, plain

__all__ = ["PATH", "SERVER", "Access", "Server", "User", "add_host", "is_generated", "is_server", "server_manifests"]

SERVER: Final = "proxy"
"""The name of the server's Deployment and Service."""
PATH: Final = "/proxy"
"""Where clients join."""
ROUTES: Final = "routes"
"""The key of the Secret with the server's rules."""

USERS: Final = "users"
PERMISSIONS: Final = "permissions"
"""The keys with the server's users and what they may do."""

_PART_OF: Final = "app.kubernetes.io/part-of"
_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
_PRIVATE_NETWORKS: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")


@attrs.frozen
class User:
    """Who may join.

    :ivar password: as it is typed.
    :ivar hashed: as a users file has it.
    """

    name: str
    password: str = attrs.field(repr=False)
    hashed: str = attrs.field(repr=False)

    @property
    def credentials(self) -> str:
        """What ``RTUNNEL_AUTH`` is to be."""
        return f"{self.name}:{self.password}"


@attrs.frozen
class Access:
    """Who may join a server that asks for users.

    :ivar sidecars: as whom the sidecars join.
    :ivar developers: who may join a host as well.
    :ivar rights: what these may do besides.
    """

    sidecars: User
    developers: tuple[User, ...]
    rights: tuple[str, ...] = ()

    def keys(self, host: str) -> dict[str, str]:
        """The keys of the Secret."""
        everybody = (self.sidecars, *self.developers)
        actions = ",".join(("bind", *self.rights))
        lines = [f"bind {self.sidecars.name} *", *(f"{actions} {user.name} {host}" for user in self.developers)]
        return {
            AUTH: self.sidecars.credentials,
            USERS: "".join(f"{user.name}:{user.hashed}\n" for user in everybody),
            PERMISSIONS: "".join(f"{line}\n" for line in lines),
            **{f"user.{user.name}": user.credentials for user in self.developers},
        }


@attrs.frozen
class Server:
    """What a new server is to be.

    :ivar name: of its Deployment, Service and NetworkPolicy.
    :ivar namespace: where it is to run; empty for the one that the documents are applied to.
    :ivar image: of rtunnel.
    :ivar trusted: networks of the Ingress; empty for all private ones.
    :ivar access: who may join; ``None`` where the ID of a tunnel is enough.
    """

    name: str
    namespace: str
    image: str
    trusted: tuple[str, ...] = ()
    access: Access | None = None


def is_server(resource: Resource, name: str) -> bool:
    """Whether a resource is the server of a namespace."""
    return (resource.kind, resource.name, resource.labels.get(_PART_OF)) == ("Deployment", name, "rtunnel")


def is_generated(resource: Resource) -> bool:
    """Whether a resource comes from :func:`server_manifests`."""
    return resource.labels.get(_MANAGED_BY) == "rtunnel-inject"


def add_host(edits: Edits, secret: Resource, host: str, new_id: Callable[[], UUID]) -> str:
    """Add a host to the Secret, with the ID of a new tunnel, unless it is there.

    :returns: what was done, for the report.
    :raises Skipped: it has the host already.
    """
    if secret.labels.get(_PART_OF) != "rtunnel":
        raise Skipped(f'is not rtunnel\'s: it has no label "{_PART_OF}: rtunnel"')
    wrong = fault(secret.node, SECRET_SHAPE)
    if wrong:
        raise Skipped(wrong)
    encoded, written = find(secret.node, "data"), find(secret.node, "stringData")
    if plain(find(encoded, host)) is not None or plain(find(written, host)) is not None:
        raise Skipped(f"has a tunnel for {host} already")
    tunnel = str(new_id())
    if encoded is not None and isinstance(encoded, yaml.MappingNode) and encoded.value:
        _add(edits, encoded, host, tunnel, _encode, _decode)
    elif written is not None:
        _add(edits, written, host, tunnel, str, str)
    else:
        edits.fill(secret.node, "stringData", {host: tunnel, ROUTES: f"{host}={tunnel}\n"})
    return f"a tunnel for {host}"


def _add(edits: Edits, values: Node, host: str, tunnel: str, encode: Callable[[str], str], decode: Callable[[str], str]) -> None:
    rules = find(values, ROUTES)
    line = f"{host}={tunnel}\n"
    if rules is None:
        edits.append_key(values, ROUTES, encode(line))
    else:
        edits.replace(rules, encode(decode(str(plain(rules) or "")) + line))
    edits.append_key(values, host, encode(tunnel))


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Skipped(f'"{ROUTES}" in its data is not base64') from None


def server_manifests(host: str, tunnel: UUID | None, server: Server) -> list[str]:
    """The documents of a server.

    :param host: of its first rule.
    :param tunnel: of that rule; ``None`` leaves the Secret out, since there is one.
    """
    name = server.name
    access = server.access if tunnel is not None else None

    def metadata(called: str) -> dict[str, Any]:
        where = {"namespace": server.namespace} if server.namespace else {}
        labels = {"app.kubernetes.io/name": called, _PART_OF: "rtunnel", _MANAGED_BY: "rtunnel-inject"}
        return {"name": called, **where, "labels": labels}

    selector = {"app.kubernetes.io/name": name, _PART_OF: "rtunnel"}
    secret: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(SECRET),
        "type": "Opaque",
        "stringData": {host: str(tunnel), ROUTES: f"{host}={tunnel}\n", **({} if access is None else access.keys(host))},
    }
    deployment: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name),
        "spec": {
            "replicas": 1,
            "minReadySeconds": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": selector}, "spec": _pod(server, has_users=access is not None)},
        },
    }
    service: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name),
        "spec": {
            "selector": selector,
            "ports": [
                {"name": "tunnel", "port": 8421, "targetPort": "tunnel"},
                {"name": "entrypoint", "port": 80, "targetPort": "entrypoint"},
            ],
        },
    }
    servers: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(servers_of(name)),
        "spec": {
            "clusterIP": "None",
            # also of a server that is not ready yet: the sidecars join it first
            "publishNotReadyAddresses": True,
            "selector": selector,
            "ports": [{"name": "tunnel", "port": 8421, "targetPort": "tunnel"}],
        },
    }
    policy: dict[str, Any] = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name),
        "spec": {
            "podSelector": {"matchLabels": selector},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": "tunnel"}, {"port": "entrypoint"}]}],
        },
    }
    documents = [*([] if tunnel is None else [secret]), deployment, service, servers, policy]
    return ["\n".join(block(document)) + "\n" for document in documents]


def _pod(server: Server, *, has_users: bool) -> dict[str, Any]:
    files = (ROUTES, USERS, PERMISSIONS) if has_users else (ROUTES,)
    arguments = [
        "server",
        "--listen=:8421",
        f"--path={PATH}",
        "--entrypoint=:8080",
        *(f"--{'routes-file' if file == ROUTES else file}=/etc/rtunnel/{file}" for file in files),
        *(f"--trusted-proxy={network}" for network in server.trusted or _PRIVATE_NETWORKS),
        "--admin=:8480",
        "--ready-wait=20s",
        "--stop-delay=5s",
        "--drain=10s",
    ]

    def probe(path: str, **more: int) -> dict[str, Any]:
        return {"httpGet": {"path": path, "port": "admin"}, **more}

    return {
        "automountServiceAccountToken": False,
        # a Service whose name begins with RTUNNEL would set variables, which are options
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "server",
                "image": server.image,
                "args": arguments,
                "ports": [
                    {"name": "tunnel", "containerPort": 8421},
                    {"name": "entrypoint", "containerPort": 8080},
                    {"name": "admin", "containerPort": 8480},
                ],
                "readinessProbe": probe("/readyz", periodSeconds=2, timeoutSeconds=2),
                "livenessProbe": probe("/livez", initialDelaySeconds=10, periodSeconds=10, timeoutSeconds=5),
                "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "1000Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "routes", "mountPath": "/etc/rtunnel", "readOnly": True}],
            }
        ],
        # only what the server reads: neither IDs nor passwords alone are needed there
        "volumes": [{"name": "routes", "secret": {"secretName": SECRET, "items": [{"key": file, "path": file} for file in files]}}],
    }
