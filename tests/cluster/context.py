"""What developers get of a pod, in the cluster: what the application has there is what a laptop gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml

from rtunnel.inject.injection import uninject
from tests.cluster.images import APP, OURS
from tests.cluster.node import INGRESS, kubectl
from tests.cluster.shell import ClusterError, wait_until
from tests.cluster.using import (
    RESTRICTED,
    ask,
    demand,
    named,
    roll,
    rolled_out,
    secret_key,
    temporary_namespace,
    tunnel_of,
    workload,
)
from tests.support.processes import Process, rtunnel

__all__ = ["Developer", "context", "developers_arguments", "inject_with_context"]

_HOST: Final = "shop.example.org"
_MULTI_LINE: Final = "first '$(A)'\n  second 'x' \"y\" \\\nthird\t$HOME\n"
_FOLLOWED: Final = 5.0
"""Seconds within which a copy has what has changed in the pod."""


def shop(host: str) -> str:
    """An application with chains of variables, a Secret, ConfigMaps as variables and as files, and a database beside it."""
    variables: list[dict[str, Any]] = [
        {"name": "A", "value": "one"},
        {"name": "B", "value": "two words"},
        {"name": "CHAIN", "value": "$(A)-$(B)"},
        {"name": "ESCAPED", "value": "$$(A) $$$(A) $(NOBODY)"},
        {"name": "EARLY", "value": "$(LATE)"},
        {"name": "LATE", "value": "late"},
        {"name": "TEXT", "value": _MULTI_LINE},
        {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
        {"name": "DB_URL", "value": "redis://:$(DB_PASSWORD)@redis:6379"},
        {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "nothing", "optional": True}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
    ]
    app = {
        "name": "app",
        "image": APP,
        "ports": [{"name": "web", "containerPort": 8080}],
        "env": variables,
        "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "db"}, "prefix": "DB_FROM_"}],
        "resources": {"requests": {"cpu": "10m"}, "limits": {"cpu": "700m"}},
        "volumeMounts": [
            {"name": "files", "mountPath": "/config"},
            {"name": "files", "mountPath": "/etc/one", "subPath": "app.yaml"},
        ],
        "securityContext": RESTRICTED,
    }
    redis = {
        "name": "redis",
        "image": "redis:7.4-alpine",
        "command": ["redis-server", "--save", "", "--protected-mode", "no", "--dir", "/tmp"],
        "ports": [{"containerPort": 6379}],
        "securityContext": RESTRICTED,
    }
    documents = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named("settings"), "data": {"LEVEL": "info", "A_KEY": "$(A)"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named("files"), "data": {"app.yaml": "colour: red\n", "b": "1"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": named("db"), "stringData": {"password": "swordfish"}},
        *workload("redis", redis, 6379),
        *workload("shop", app, 80, [{"name": "files", "configMap": {"name": "files"}}]),
    ]
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "shop", "port": {"number": 80}}}}
    rules = [{"host": host, "http": {"paths": [path]}}]
    documents.append({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": named("shop"), "spec": {"rules": rules}})
    return yaml.safe_dump_all(documents)


def inject_with_context(namespace: str, host: str) -> None:
    """The application, injected by the command that the page names, for the developer ``alice``."""
    kubectl("apply", "--namespace", namespace, "--filename", "-", text=shop(host))
    rolled_out(namespace, "deployment/redis", "deployment/shop")
    everything = kubectl("get", "deployment,service,ingress", "--namespace", namespace, "--output", "yaml")
    command = (sys.executable, "-m", "rtunnel", "inject", "-", "--host", host, "--image", OURS, "--user", "alice")
    context = ("--context", "env,files", "--env-allow-secret", "DB_URL", "--reach", "redis:6379,*.svc:80")
    done = subprocess.run([*command, *context], input=everything, capture_output=True, text=True, check=False, timeout=60)
    demand(not done.returncode, done.stderr)
    kubectl("apply", "--namespace", namespace, "--filename", "-", text=done.stdout)
    rolled_out(namespace, "deployment/proxy", "deployment/shop")
    wait_until(lambda: ask(host).startswith("pod"), "the application is served through the server")
    pods = ("get", "pods", "--namespace", namespace, "--selector", "app.kubernetes.io/name=shop", "--no-headers")
    wait_until(lambda: len(kubectl(*pods).splitlines()) == 1, "the former pod is gone")


def developers_arguments(namespace: str, host: str) -> tuple[str, ...]:
    """How ``alice`` reaches the server."""
    return ("--server", f"ws://{INGRESS}:80/proxy", "--host-header", host, "--tunnel", tunnel_of(namespace, host))


# -- the check


def context() -> str:
    """Environment, files and services of an injected pod on a laptop; the service account's token is not among them."""
    with temporary_namespace("context") as namespace, TemporaryDirectory(prefix="rtunnel-context-") as folder:
        inject_with_context(namespace, _HOST)
        alice = Developer(namespace, _HOST)
        variables = _compare_environment(namespace, alice)
        listed = alice.run("files")
        demand("/config/app.yaml" in listed and "token" not in listed, f"the files were {listed}")
        # there is no ls in our image
        token = _in_pod(namespace, "rtunnel", "python3", "-c", _LIST_TOKEN).strip()
        demand(token == "[]", f"the sidecar has {token} of the service account")
        with alice.start("files", "sync", folder, "--follow"):
            seconds = _change_is_followed(namespace, Path(folder) / "config" / "app.yaml")
        said = alice.run("run", "--", sys.executable, "-c", _ASK_REDIS)
        demand(said.strip() == "+PONG", f"the database said {said}")
        rolled = roll(namespace, "shop", _HOST)
        demand(not rolled.failed, f"requests failed while the pod was replaced: {rolled}")
        _uninject(namespace)
    return (
        f"{variables} variables as in the pod, a change of a ConfigMap followed within {seconds:.1f} s, Redis by its name; "
        f"rolled out: 0 of {rolled.total} failed"
    )


_LIST_TOKEN: Final = "import os; print(os.listdir('/var/run/secrets/kubernetes.io/serviceaccount'))"
_ASK_REDIS: Final = (
    "import os, socket; from urllib.parse import urlsplit\n"
    "url = urlsplit(os.environ['DB_URL']); assert url.password == 'swordfish'\n"
    "s = socket.create_connection((url.hostname, url.port), 20); s.sendall(b'PING\\r\\n'); print(s.recv(100).decode())"
)


class Developer:
    """Alice at her laptop."""

    def __init__(self, namespace: str, host: str) -> None:
        self._where = (host, *developers_arguments(namespace, host))
        self._auth = {"RTUNNEL_AUTH": secret_key(namespace, "user.alice")}

    def run(self, command: str, *more: str) -> str:
        """Run one of rtunnel's commands; what it prints."""
        arguments = (sys.executable, "-m", "rtunnel", command, *self._where, *more)
        done = subprocess.run(arguments, env=os.environ | self._auth, capture_output=True, text=True, check=False, timeout=120)
        demand(not done.returncode, f"rtunnel {command}: {done.stderr}")
        return done.stdout

    @contextmanager
    def start(self, command: str, *more: str) -> Iterator[Process]:
        """One of them that goes on."""
        with rtunnel(command, *self._where, *more, env=self._auth) as process:
            yield process


def _in_pod(namespace: str, container: str, *command: str) -> str:
    where = ("exec", "--namespace", namespace, "deployment/shop", "--container", container, "--")
    return kubectl(*where, *command)


def _compare_environment(namespace: str, alice: Developer) -> int:
    """What ``kubectl exec env`` shows of the application is what a developer gets; returns how many variables."""
    text = _in_pod(namespace, "app", "env", "-0")
    there = dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)
    got = json.loads(alice.run("env", "--format", "json", "--show"))
    names = ("A", "B", "CHAIN", "ESCAPED", "EARLY", "LATE", "TEXT", "DB_URL", "NODE", "IP", "CPUS", "LEVEL", "A_KEY")
    wanted = {name: there[name] for name in names}
    made = {"CHAIN": "one-two words", "ESCAPED": "$(A) $one $(NOBODY)", "EARLY": "$(LATE)", "CPUS": "700", "A_KEY": "$(A)"}
    demand(wanted.items() >= made.items(), f"Kubernetes made {wanted} of the variables")
    demand(got == wanted, f"the environment of the pod is {wanted}, and a developer gets {got}")
    return len(got)


def _change_is_followed(namespace: str, copy: Path) -> float:
    """Change a ConfigMap; how long after the pod a laptop has it."""
    wait_until(lambda: copy.exists() and "red" in copy.read_text(encoding="utf-8"), "the copy is there")
    data = json.dumps({"data": {"app.yaml": "colour: blue\n", "b": "2"}})
    kubectl("patch", "configmap", "files", "--namespace", namespace, "--patch", data)
    wait_until(lambda: "blue" in _in_pod(namespace, "app", "cat", "/config/app.yaml"), "the pod has the change", patience=180)
    began = time.monotonic()
    wait_until(lambda: "blue" in copy.read_text(encoding="utf-8"), "the copy has the change")
    seconds = time.monotonic() - began
    demand((copy.parent / "b").read_text(encoding="utf-8") == "2", "the copy is a mix of two moments")
    if seconds > _FOLLOWED:
        raise ClusterError(f"the copy had the change {seconds:.1f} s after the pod")
    return seconds


def _uninject(namespace: str) -> None:
    """The application is as it was."""
    everything = kubectl(
        "get", "deployment,ingress", "--namespace", namespace, "--selector", "app.kubernetes.io/name=shop", "-o", "yaml"
    )
    kubectl("apply", "--namespace", namespace, "--filename", "-", text=uninject(everything).text)
    rolled_out(namespace, "deployment/shop")
    left = kubectl("get", "deployment", "shop", "--namespace", namespace, "--output", "yaml")
    spec = yaml.safe_load(left)["spec"]["template"]
    demand("rtunnel" not in json.dumps(spec), f"something is left in the template: {spec}")
