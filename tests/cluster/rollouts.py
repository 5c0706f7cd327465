"""Services, servers and Redis are rolled out while visitors come, with WebSockets to the pod and to a laptop beside them."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import yaml

from rtunnel.inject.injection import Wanted, inject
from tests.cluster.images import OURS
from tests.cluster.node import kubectl
from tests.cluster.shell import ROOT, wait_until
from tests.cluster.using import (
    RESTRICTED,
    Rollout,
    ask,
    demand,
    joined_client,
    named,
    roll,
    rolled_out,
    temporary_namespace,
    workload,
)
from tests.cluster.web_sockets import BY_THE_APPLICATION, CUT, WebSocketVisitor
from tests.support.processes import Process, free_port

__all__ = ["replicas", "rollouts"]

_HOST: Final = "nginx.local"
_INJECTED: Final = "echo.example.org"
_TUNNEL: Final = "10bc451e-59dc-4c70-999e-91a30813ac78"
_ALICE: Final = {"X-User": "alice"}
_APP: Final = Path(__file__).parent / "echo.py"
_PYTHON: Final = "/opt/rtunnel/bin/python3"
"""In our image."""
_PAUSE: Final = 12.0
"""Seconds that the application has from the end of its pod until SIGTERM (``preStop``)."""
_STOP: Final = 15.0
"""Seconds that a server has for what runs (``--stop-delay`` and ``--drain``)."""
_EARLY: Final = 1.0
"""Seconds by which an end may seem to be early, since pods are looked at from time to time."""


def rollouts() -> str:
    """At 100 requests a second, and with WebSockets, a service, a server and an injected service are rolled out."""
    with temporary_namespace("injected-rollouts") as namespace:
        _start_injected(namespace)
        with WebSocketVisitor(_INJECTED) as visitor:
            rollout = roll(namespace, "echo", _INJECTED)
        demand(not rollout.failed, str(rollout))
        injected = f"with rtunnel inject: {rollout}\n    WebSocket to the pod: {_judge(visitor, _CLOSED, rollout)}"
    with temporary_namespace("rollouts") as namespace:
        _start(namespace, "kubernetes", "deployment/proxy", "deployment/nginx")
        with _laptop():
            found = [
                _roll(namespace, "nginx", pod=_CLOSED, laptop=_LIVES),
                _roll(namespace, "proxy", pod=_CUT, laptop=_CUT),
            ]
    return "\n".join((*found, injected))


def replicas() -> str:
    """Two servers with Redis: a laptop at one of them gets requests of both; servers, service and Redis are rolled out."""
    with temporary_namespace("replicas") as namespace:
        _start(namespace, "kubernetes-replicas", "deployment/redis", "deployment/proxy", "deployment/nginx")
        with _laptop():
            mine = Counter(ask(_HOST, headers=_ALICE).partition(" ")[0] for _ in range(100))
            demand(set(mine) == {"laptop"}, f"the intercept got {dict(mine)}")
            found = [
                _one_of_two_ends(namespace),
                _roll(namespace, "proxy", pod=_CUT_BY_EACH, laptop=_CUT_BY_EACH),
                _roll(namespace, "nginx", pod=_CLOSED, laptop=_LIVES),
                _roll(namespace, "redis", pod=_LIVES, laptop=_LIVES),
            ]
    return "\n".join(("an intercept: 100 of 100 at both servers", *found))


# -- what is there


def _start(namespace: str, folder: str, *deployments: str) -> None:
    """Apply manifests of ours, with an application that has a WebSocket in place of nginx."""
    documents = list(yaml.safe_load_all(kubectl("kustomize", str(ROOT / "deploy" / folder))))
    for document in documents:
        if (document["kind"], document["metadata"]["name"]) == ("Deployment", "nginx"):
            _exchange_application(document["spec"]["template"]["spec"])
    documents.append(_program())
    kubectl("apply", "--namespace", namespace, "--filename", "-", text=yaml.safe_dump_all(documents))
    rolled_out(namespace, *deployments)
    wait_until(lambda: ask(_HOST).startswith("pod"), "the pod serves through the Ingress")


def _start_injected(namespace: str) -> None:
    """The same application with the sidecar that rtunnel inject adds, which is an init container that goes on running."""
    container = {
        "name": "app",
        "image": OURS,
        "command": [_PYTHON, f"/app/{_APP.name}", "8080", "pod"],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 2},
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "app", "mountPath": "/app"}],
    }
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "echo", "port": {"number": 80}}}}
    rules = [{"host": _INJECTED, "http": {"paths": [path]}}]
    documents = [
        _program(),
        *workload("echo", container, 80, [{"name": "app", "configMap": {"name": "app"}}]),
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": named("echo"), "spec": {"rules": rules}},
    ]
    outcome = inject(yaml.safe_dump_all(documents), Wanted(host=_INJECTED, image=OURS))
    kubectl("apply", "--namespace", namespace, "--filename", "-", text=outcome.text)
    rolled_out(namespace, "deployment/proxy", "deployment/echo")
    wait_until(lambda: ask(_INJECTED).startswith("pod"), "the injected pod serves through the Ingress")


def _program() -> dict[str, Any]:
    """The application, as a ConfigMap."""
    data = {_APP.name: _APP.read_text(encoding="utf-8")}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": data}


def _exchange_application(pod: Any) -> None:
    (nginx,) = (container for container in pod["containers"] if container["name"] == "nginx")
    nginx |= {"image": OURS, "command": [_PYTHON, f"/app/{_APP.name}", "8080", "pod"]}
    nginx["volumeMounts"].append({"name": "app", "mountPath": "/app"})
    # there is no program "sleep" in our image
    (*_, seconds) = nginx["lifecycle"]["preStop"]["exec"]["command"]
    nginx["lifecycle"] = {"preStop": {"sleep": {"seconds": int(seconds)}}}
    nginx["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 2}
    pod["volumes"].append({"name": "app", "configMap": {"name": "app"}})


@contextmanager
def _laptop() -> Iterator[None]:
    """The same application on a laptop, which takes the requests of Alice."""
    port = free_port()
    with (
        Process([sys.executable, str(_APP), str(port), "laptop"]),
        joined_client(_HOST, _TUNNEL, port, "--intercept", "header:X-User=alice"),
    ):
        wait_until(lambda: ask(_HOST, headers=_ALICE).startswith("laptop"), "the laptop serves Alice")
        yield


# -- what WebSockets notice


@attrs.frozen
class _Expected:
    """What may happen to a WebSocket while something is rolled out.

    :ivar how: how its connections end.
    :ivar least: how many of them at least.
    :ivar most: how many at most.
    :ivar after: seconds after the first pod was told to stop, at least.
    """

    how: str = ""
    least: int = 0
    most: int = 0
    after: float = 0.0


_LIVES: Final = _Expected()
_CLOSED: Final = _Expected(BY_THE_APPLICATION, 1, 1, _PAUSE)
_CUT: Final = _Expected(CUT, 1, 1, _STOP)
_CUT_BY_EACH: Final = _Expected(CUT, 1, 2, _STOP)


def _roll(namespace: str, name: str, *, pod: _Expected, laptop: _Expected) -> str:
    """Roll a Deployment out; what visitors noticed, with a WebSocket to the pod and one to the laptop."""
    with WebSocketVisitor(_HOST) as to_pod, WebSocketVisitor(_HOST, _ALICE) as to_laptop:
        rollout = roll(namespace, name, _HOST)
    demand(not rollout.failed, str(rollout))
    lines = (f"WebSocket to the pod: {_judge(to_pod, pod, rollout)}", f"to the laptop: {_judge(to_laptop, laptop, rollout)}")
    return "\n    ".join((str(rollout), *lines))


def _judge(visitor: WebSocketVisitor, expected: _Expected, rollout: Rollout) -> str:
    """What became of a WebSocket.

    :raises ClusterError: not what may.
    """
    after = [end.at - rollout.told[0] for end in visitor.ends]
    lines = [
        f"ended {end.how} {seconds:.0f} s after the first pod was told to stop" + ", a message was sent again" * end.unanswered
        for end, seconds in zip(visitor.ends, after, strict=True)
    ]
    text = ", ".join((str(visitor), *lines))
    demand(not visitor.failed, f"{rollout.name}: {text}: {visitor.failed[:5]}")
    fit = all(end.how == expected.how for end in visitor.ends) and all(seconds > expected.after - _EARLY for seconds in after)
    demand(fit and expected.least <= len(lines) <= expected.most, f"{rollout.name}: {text}; expected was {expected}")
    return text


def _one_of_two_ends(namespace: str) -> str:
    """The server ends through which a WebSocket does not go, which goes on."""
    with WebSocketVisitor(_HOST) as visitor:
        wait_until(lambda: visitor.echoed, "the WebSocket is open")
        carrying = {pod: _visitors(namespace, pod) for pod in _servers(namespace)}
        demand(sorted(carrying.values()) == [0, 1], f"the servers have {carrying} visitors")
        other = min(carrying, key=lambda pod: carrying[pod])
        before = visitor.echoed
        kubectl("delete", other, "--namespace", namespace)
        wait_until(lambda: len(_servers(namespace)) == 2, "there are two servers again")
        # the Ingress is not read again, see roll()
        kubectl("rollout", "status", "deployment/proxy", "--namespace", namespace, "--timeout=180s")
        wait_until(lambda: visitor.failed or visitor.echoed > before + 100, "messages are echoed")
    demand(not visitor.failed and not visitor.ends, f"the server without the WebSocket ended: {visitor}, {visitor.failed[:5]}")
    return f"the server without the WebSocket ends: {visitor}"


def _servers(namespace: str) -> list[str]:
    return kubectl(
        "get", "pods", "--namespace", namespace, "--selector", "app.kubernetes.io/name=proxy", "--output", "name"
    ).split()


def _visitors(namespace: str, pod: str) -> int:
    """How many visitors a server has."""
    path = f"/api/v1/namespaces/{namespace}/pods/{pod.removeprefix('pod/')}:8480/proxy/status"
    entrypoints = json.loads(kubectl("get", "--raw", path))["entrypoints"]
    return sum(entrypoint["visitors"] for entrypoint in entrypoints)
