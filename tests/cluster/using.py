"""What the checks of the cluster share: namespaces for a while, services, requests through the Ingress, laptops that join."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

import yaml

from tests.cluster import ingress
from tests.cluster.images import APP
from tests.cluster.node import INGRESS, kubectl
from tests.cluster.shell import ROOT, ClusterError, wait_until
from tests.support.load import Load
from tests.support.processes import Process, rtunnel
from tests.support.services import NamedService

__all__ = [
    "RESTRICTED",
    "ask",
    "demand",
    "example_services",
    "joined_laptop",
    "roll",
    "rolled_out",
    "secret_key",
    "temporary_namespace",
    "tunnel_of",
]

RESTRICTED: Final = {
    "runAsNonRoot": True,
    "runAsUser": 101,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""The ``securityContext`` that the level "restricted" asks for."""


def demand(condition: object, what: str) -> None:
    """Fail if a condition is not true."""
    if not condition:
        raise ClusterError(what)


@contextmanager
def temporary_namespace(name: str) -> Iterator[str]:
    """A namespace for one check; it is removed again."""
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")
        ingress.reload()


def ask(host: str, path: str = "/", headers: dict[str, str] | None = None) -> str:
    """Send a request through the Ingress; the status if it is not 200, and the error if there is no response."""
    connection = HTTPConnection(INGRESS, timeout=20)
    try:
        connection.request("GET", path, headers={"Host": host, **(headers or {})})
        response = connection.getresponse()
        body = response.read().decode()
        return body if response.status == 200 else str(response.status)
    except (OSError, HTTPException) as error:
        return f"no response: {error}"
    finally:
        connection.close()


def rolled_out(namespace: str, *workloads: str) -> None:
    """Wait until workloads are as they are to be, and tell the Ingress."""
    for workload in workloads:
        kubectl("rollout", "status", workload, "--namespace", namespace, "--timeout=180s")
    ingress.reload()


@contextmanager
def joined_laptop(host: str, tunnel: str, *more: str) -> Iterator[Process]:
    """A laptop that has joined through the Ingress, with a service that says ``laptop``."""
    service = NamedService("laptop")
    server = ("--server", f"ws://{INGRESS}:80/proxy", "--host-header", host)
    try:
        with rtunnel("client", *server, "--tunnel", tunnel, "--target", f"127.0.0.1:{service.port}", *more) as client:
            # the machine may be busy with the cluster
            wait_until(lambda: "joined" in client.output, "the laptop has joined")
            yield client
    finally:
        service.stop()


def roll(namespace: str, name: str, host: str) -> tuple[list[str], int]:
    """Roll a Deployment out under load; what failed, and how many requests there were."""
    with Load(80, host, address=INGRESS) as load:
        time.sleep(2)
        kubectl("rollout", "restart", f"deployment/{name}", "--namespace", namespace)
        # the Ingress is not read again: nginx would close kept-alive connections, and to the Services nothing changes
        kubectl("rollout", "status", f"deployment/{name}", "--namespace", namespace, "--timeout=180s")
        wait_until(lambda: "Terminating" not in _pods(namespace, name), f"the former pods of {name} are gone")
        time.sleep(5)
    return [kind for _, kind in load.failed], load.total


def _pods(namespace: str, name: str) -> str:
    return kubectl("get", "pods", "--namespace", namespace, "--selector", f"app.kubernetes.io/name={name}", check=False)


def tunnel_of(namespace: str, host: str) -> str:
    """The ID of a host's tunnel, out of the Secret."""
    return secret_key(namespace, host)


def secret_key(namespace: str, key: str) -> str:
    """What rtunnel's Secret has under a key."""
    template = f'{{{{index .data "{key}" | base64decode}}}}'
    return kubectl("get", "secret", "rtunnel", "--namespace", namespace, "--output", f"go-template={template}").strip()


def example_services() -> dict[str, str]:
    """An nginx, a StatefulSet with a headless Service, and what Helm's own starting chart makes, with named ports and probes."""
    container = {"name": "app", "image": APP, "ports": [{"containerPort": 8080}], "securityContext": RESTRICTED}

    def service(name: str, workload: dict[str, Any], **more: Any) -> str:
        labels = {"app.kubernetes.io/name": name}
        metadata = {"name": name, "labels": labels}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 5}}
        workload["metadata"] = metadata
        workload["spec"] = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template, **workload.get("spec", {})}
        ports = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}], **more}
        backend = {"service": {"name": name, "port": {"number": 80}}}
        path = {"path": "/", "pathType": "Prefix", "backend": backend}
        rules = [{"host": f"{name}.example.org", "http": {"paths": [path]}}]
        documents: list[dict[str, Any]] = [
            workload,
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": ports},
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": {"rules": rules}},
        ]
        return yaml.safe_dump_all(documents)

    chart = (ROOT / "tests" / "data" / "inject" / "chart.yaml").read_text(encoding="utf-8")
    changed = []
    for document in yaml.safe_load_all(chart):
        if document["kind"] == "Deployment":
            (app,) = document["spec"]["template"]["spec"]["containers"]
            app |= {"image": APP, "securityContext": RESTRICTED}
            app["ports"] = [{"name": "http", "containerPort": 8080}]
        if document["kind"] != "Pod":
            changed.append(document)
    text = yaml.safe_dump_all(changed)
    return {
        "web": service("web", {"apiVersion": "apps/v1", "kind": "Deployment"}),
        "data": service("data", {"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"serviceName": "data"}}),
        "shop": text,
    }
