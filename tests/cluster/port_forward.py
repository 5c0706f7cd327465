"""``kubectl port-forward`` beside ``rtunnel reach --forward``: the same pod, over both.

Short connections are HTTP requests, each on a connection of its own, 32 at once for 10 seconds (wrk, to nginx). Bulk is one
connection in either direction. Both ways listen at an address of this machine or of the node, one virtual cable away from what they
lead to.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster.context import Developer, inject_with_context
from tests.cluster.images import APP
from tests.cluster.node import INGRESS, KUBECONFIG, kubectl
from tests.cluster.programs import BIN
from tests.cluster.shell import ClusterError, inside, run, wait_until
from tests.cluster.using import RESTRICTED, demand, rolled_out
from tests.support.processes import LOOPBACK, Process, free_port, needed

__all__ = ["compare"]

_NAMESPACE: Final = "port-forward"
_HOST: Final = "reach.example.org"
_BULK: Final = Path(__file__).parent / "bulk.py"
_CONNECTIONS: Final = 32
_SECONDS: Final = 10
_SIZE: Final = 500_000_000
"""Bytes of bulk in each direction."""
_PIECE: Final = bytes(1 << 20)


def compare() -> None:
    """Measure, and print a table; what was started in the cluster stays for the next time.

    :raises ClusterError: something of it does not work.
    """
    wrk = needed("wrk")
    if not kubectl("get", "namespace", _NAMESPACE, "--ignore-not-found").strip():
        kubectl("create", "namespace", _NAMESPACE)
        inject_with_context(_NAMESPACE, _HOST)
        kubectl("apply", "--namespace", _NAMESPACE, "--filename", "-", text=_service())
    else:
        # with what the image is now
        kubectl("rollout", "restart", "deployment/proxy", "deployment/shop", "--namespace", _NAMESPACE)
    rolled_out(_NAMESPACE, "deployment/proxy", "deployment/shop", "deployment/speed")
    wait_until(lambda: "Terminating" not in kubectl("get", "pods", "--namespace", _NAMESPACE), "the former pods are gone")
    print("| | connections a second, 32 at once | down, MB/s | up, MB/s |\n|---|---|---|---|", flush=True)
    for name, way in (("kubectl port-forward", _port_forward), ("rtunnel reach --forward", _reach)):
        with way() as (address, web, bulk):
            rate, errors = _short_connections(wrk, address, web)
            failed = f" ({errors})" if errors else ""
            print(f"| `{name}` | {rate:.0f}{failed} | {_down(address, bulk):.0f} | {_up(address, bulk):.0f} |", flush=True)


def _service() -> str:
    """A pod with nginx, and with what takes and gives bulk; a Service for each."""
    labels = {"app.kubernetes.io/name": "speed"}
    web: dict[str, Any] = {"name": "web", "image": APP, "securityContext": RESTRICTED}
    bulk: dict[str, Any] = web | {"name": "bulk", "command": ["python3", f"/app/{_BULK.name}", "9000"]}
    bulk["volumeMounts"] = [{"name": "app", "mountPath": "/app"}]
    pod = {"containers": [web, bulk], "volumes": [{"name": "app", "configMap": {"name": "bulk"}}]}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    program = {"data": {_BULK.name: _BULK.read_text(encoding="utf-8")}}
    ports = {"web": 8080, "bulk": 9000}
    services = {name: {"spec": {"selector": labels, "ports": [{"port": 80, "targetPort": ports[name]}]}} for name in ports}
    documents: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bulk"}, **program},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "speed"}, "spec": spec},
        *({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, **service} for name, service in services.items()),
    ]
    return yaml.safe_dump_all(documents)


# -- the two ways: an address, and the ports of nginx and of bulk


@contextmanager
def _port_forward() -> Iterator[tuple[str, int, int]]:
    ports = 18080, 19000
    where = (f"--kubeconfig={KUBECONFIG}", f"--namespace={_NAMESPACE}", f"--address={INGRESS}")
    forwards = (f"{ports[0]}:8080", f"{ports[1]}:9000")
    with Process(inside(str(BIN / "kubectl"), *where, "port-forward", "deployment/speed", *forwards)) as process:
        wait_until(lambda: process.output.count("Forwarding from") == 2, f"kubectl forwards\n{process.output}")
        yield INGRESS, *ports


@contextmanager
def _reach() -> Iterator[tuple[str, int, int]]:
    ports = free_port(), free_port()
    names = ("web", "bulk")
    forwards = [f"--forward={port}:{name}.{_NAMESPACE}.svc:80" for port, name in zip(ports, names, strict=True)]
    with Developer(_NAMESPACE, _HOST).start("reach", *forwards) as process:
        wait_until(lambda: process.output.count(" leads to ") == 2, f"rtunnel listens\n{process.output}")
        yield LOOPBACK, *ports


# -- what is measured


def _short_connections(wrk: str, address: str, port: int) -> tuple[float, str]:
    """Connections a second, and what wrk says of those that failed."""
    options = (f"--connections={_CONNECTIONS}", "--threads=1", f"--duration={_SECONDS}s", "--timeout=10s")
    said = run(wrk, *options, "--header", "Connection: close", f"http://{address}:{port}/")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    demand(rate, said)
    errors = re.search(r"Socket errors: .+", said)
    return float(rate[1]) if rate else 0.0, errors[0] if errors else ""


def _down(address: str, port: int) -> float:
    """Megabytes a second."""
    with socket.create_connection((address, port), 60) as connection:
        began, left = time.monotonic(), _SIZE
        connection.sendall(f"down {_SIZE}\n".encode())
        while left:
            data = connection.recv(len(_PIECE))
            if not data:
                raise ClusterError(f"{left} bytes did not come")
            left -= len(data)
        return _SIZE / (time.monotonic() - began) / 1e6


def _up(address: str, port: int) -> float:
    """The same."""
    with socket.create_connection((address, port), 60) as connection:
        began, left = time.monotonic(), _SIZE
        connection.sendall(f"up {_SIZE}\n".encode())
        while left:
            piece = _PIECE[:left]
            connection.sendall(piece)
            left -= len(piece)
        demand(connection.recv(100) == b"done\n", "not all bytes were taken")
        return _SIZE / (time.monotonic() - began) / 1e6
