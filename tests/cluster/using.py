"""What the checks of the cluster share: namespaces for a while, services, requests through the Ingress, laptops that join."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

import attrs
import yaml

from tests.cluster import ingress
from tests.cluster.images import APP, POSTGRES, POSTGRES_PROGRAMS
from tests.cluster.node import INGRESS, kubectl
from tests.cluster.shell import ROOT, ClusterError, wait_until
from tests.support.load import Load
from tests.support.processes import Process, rtunnel
from tests.support.services import NamedService

__all__ = [
    "RESTRICTED",
    "Rollout",
    "ask",
    "demand",
    "example_services",
    "joined_client",
    "joined_laptop",
    "named",
    "orders_database",
    "roll",
    "rolled_out",
    "secret_key",
    "temporary_namespace",
    "tunnel_of",
    "workload",
]

_DATABASE: Final = f"""\
set -e
PATH={POSTGRES_PROGRAMS}:$PATH
initdb --auth trust --username postgres /tmp/data
echo "host all all all trust" >> /tmp/data/pg_hba.conf
pg_ctl -D /tmp/data -o "-c unix_socket_directories=/tmp -c listen_addresses=" -w start
psql -h /tmp -U postgres -qc "create table orders (); insert into orders default values; insert into orders default values"
pg_ctl -D /tmp/data -w stop
exec postgres -D /tmp/data -c unix_socket_directories=/tmp -c listen_addresses='*'
"""
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
    try:
        with joined_client(host, tunnel, service.port, *more) as client:
            yield client
    finally:
        service.stop()


@contextmanager
def joined_client(host: str, tunnel: str, port: int, *more: str) -> Iterator[Process]:
    """A client on a laptop that has joined through the Ingress, for a service at a port."""
    server = ("--server", f"ws://{INGRESS}:80/proxy", "--host-header", host)
    with rtunnel("client", *server, "--tunnel", tunnel, "--target", f"127.0.0.1:{port}", *more) as client:
        # the machine may be busy with the cluster
        wait_until(lambda: "joined" in client.output, "the laptop has joined")
        yield client


@attrs.frozen
class Rollout:
    """What visitors noticed of a rollout.

    :ivar name: of the Deployment.
    :ivar failed: requests that failed: seconds after the rollout began, and how.
    :ivar total: how many there were.
    :ivar told: when each of the former pods was told to stop, in seconds of the monotonic clock.
    """

    name: str
    failed: list[tuple[float, str]]
    total: int
    told: list[float]

    def __str__(self) -> str:
        first = [f"{how} after {seconds:.1f} s" for seconds, how in self.failed[:5]]
        return f"{self.name}: {len(self.failed)} of {self.total} failed{f': {first}' if first else ''}"


def roll(namespace: str, name: str, host: str) -> Rollout:
    """Roll a Deployment out under load, until the former pods are gone."""
    with Load(80, host, address=INGRESS) as load:
        time.sleep(2)
        former = {pod for pod, _ in _pods(namespace, name)}
        told: dict[str, float] = {}

        def gone() -> bool:
            pods = _pods(namespace, name)
            for pod, stopping in pods:
                if stopping:
                    told.setdefault(pod, time.monotonic())
            return former.isdisjoint(pod for pod, _ in pods)

        began = time.monotonic()
        kubectl("rollout", "restart", f"deployment/{name}", "--namespace", namespace)
        # the Ingress is not read again: nginx would close kept-alive connections, and to the Services nothing changes
        wait_until(gone, f"the former pods of {name} are gone", patience=180)
        kubectl("rollout", "status", f"deployment/{name}", "--namespace", namespace, "--timeout=180s")
        time.sleep(5)
    return Rollout(name, [(at - began, how) for at, how in load.failed], load.total, sorted(told.values()))


def _pods(namespace: str, name: str) -> list[tuple[str, bool]]:
    """The pods of a Deployment, and whether each has been told to stop."""
    text = kubectl("get", "pods", "--namespace", namespace, "--selector", f"app.kubernetes.io/name={name}", "--output", "json")
    return [(pod["metadata"]["name"], "deletionTimestamp" in pod["metadata"]) for pod in json.loads(text)["items"]]


def tunnel_of(namespace: str, host: str) -> str:
    """The ID of a host's tunnel, out of the Secret."""
    return secret_key(namespace, host)


def secret_key(namespace: str, key: str) -> str:
    """What rtunnel's Secret has under a key."""
    template = f'{{{{index .data "{key}" | base64decode}}}}'
    return kubectl("get", "secret", "rtunnel", "--namespace", namespace, "--output", f"go-template={template}").strip()


def named(name: str) -> dict[str, Any]:
    """The metadata of a resource, with the label by which others find it."""
    return {"name": name, "labels": {"app.kubernetes.io/name": name}}


def workload(name: str, container: Any, port: int, volumes: Any = ()) -> Iterator[dict[str, Any]]:
    """A Deployment and its Service."""
    metadata = named(name)
    pod = {"containers": [container], "volumes": list(volumes)}
    template = {"metadata": {"labels": metadata["labels"]}, "spec": pod}
    spec = {"selector": {"matchLabels": metadata["labels"]}, "template": template}
    yield {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    ports = [{"port": port, "targetPort": container["ports"][0]["containerPort"]}]
    yield {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": metadata["labels"], "ports": ports}}


def orders_database() -> dict[str, Any]:
    """A container with a PostgreSQL that has what examples/orders.py asks for; it is ready once it has."""
    orders = ("psql", "-h", "localhost", "-U", "postgres", "-qc", "select count(*) from orders")
    return {
        "name": "postgres",
        "image": POSTGRES,
        "command": ["sh", "-c", _DATABASE],
        "ports": [{"containerPort": 5432}],
        "readinessProbe": {"exec": {"command": [*orders]}, "periodSeconds": 1, "timeoutSeconds": 5},
        "securityContext": RESTRICTED,
    }


def _orders() -> tuple[dict[str, Any], dict[str, Any]]:
    """examples/orders.py as a container beside its database, which visitors reach from outside of the pod; its ConfigMap."""
    text = (ROOT / "examples" / "orders.py").read_text(encoding="utf-8").replace('"127.0.0.1"', '""')
    variables = {"GREETING": "pod", "DATABASE_URL": "postgres://postgres@localhost/postgres"}
    container = {
        "name": "app",
        "image": POSTGRES,
        "command": ["python3", "/app/orders.py", "8080"],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "ports": [{"containerPort": 8080}],
        "volumeMounts": [{"name": "app", "mountPath": "/app"}],
        "securityContext": RESTRICTED,
    }
    return container, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "orders"}, "data": {"orders.py": text}}


def example_services() -> dict[str, str]:
    """Three kinds of services, each under its name, which is that of its workload as well.

    An nginx; a StatefulSet with a database; what Helm's own starting chart makes, with named ports and probes.
    """
    container = {"name": "app", "image": APP, "ports": [{"containerPort": 8080}], "securityContext": RESTRICTED}
    orders, program = _orders()

    def service(name: str, workload: dict[str, Any], pod: dict[str, Any]) -> str:
        labels = {"app.kubernetes.io/name": name}
        metadata = {"name": name, "labels": labels}
        template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 5, **pod}}
        workload["metadata"] = metadata
        workload["spec"] = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template, **workload.get("spec", {})}
        ports = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
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
        "web": service("web", {"apiVersion": "apps/v1", "kind": "Deployment"}, {"containers": [container]}),
        "data": service(
            "data",
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"serviceName": "data"}},
            {"containers": [orders, orders_database()], "volumes": [{"name": "app", "configMap": {"name": "orders"}}]},
        )
        + yaml.safe_dump(program, explicit_start=True),
        "shop": text,
    }
