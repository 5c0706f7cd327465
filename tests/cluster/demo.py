"""The scenario in the cluster, with what is typed and what comes of it; it is left for the user to play with."""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.cluster import ingress
from tests.cluster.context import Developer, developers_arguments, inject_with_context
from tests.cluster.node import INGRESS, KUBECONFIG, kubectl
from tests.cluster.programs import BIN
from tests.cluster.shell import NAMESPACE, wait_until
from tests.cluster.using import ask, demand, secret_key
from tests.support.load import Load
from tests.support.processes import free_port

__all__ = ["demo"]

_NAME: Final = "demo"
_HOST: Final = "demo.example.org"
_ALICE: Final = {"X-User": "alice"}
_APP: Final = Path(__file__).parent / "demo_app.py"


def demo() -> None:
    """Play it.

    :raises ClusterError: something of it does not work.
    """
    _say("An application with a Redis, in a namespace of its own; the sidecar is injected, with what Alice may get of the pod.")
    kubectl("delete", "namespace", _NAME, "--ignore-not-found")
    kubectl("create", "namespace", _NAME)
    kubectl("label", "namespace", _NAME, "pod-security.kubernetes.io/enforce=restricted")
    inject_with_context(_NAME, _HOST)
    _request({})
    port = free_port()
    intercept = ("--target", f"127.0.0.1:{port}", "--intercept", "header:X-User=alice")
    command = (*intercept, "--", sys.executable, str(_APP), str(port))
    _say("Alice works on it, with the environment, the files and the database of the pod; she takes her own requests only.")
    print(f"$ rtunnel dev {_HOST} {' '.join(intercept)} -- python3 {_APP.name} {port}")
    alice = Developer(_NAME, _HOST)
    with alice.start("dev", *command) as laptop:
        wait_until(lambda: "laptop" in ask(_HOST, headers=_ALICE), f"the laptop serves\n{laptop.output}")
        _request(_ALICE)
        _request({})
        _say("The service and the server are rolled out at 100 requests a second, while she goes on.")
        for name in ("shop", "proxy"):
            _roll_out(name)
        wait_until(lambda: "laptop" in ask(_HOST, headers=_ALICE), f"the laptop serves again\n{laptop.output}")
        _request(_ALICE)
    _request(_ALICE)
    _next_steps(port)


def _say(text: str) -> None:
    print(f"\n# {text}", flush=True)


def _request(headers: dict[str, str]) -> None:
    fields = "".join(f" -H '{name}: {value}'" for name, value in headers.items())
    print(f"$ curl http://{_HOST}/{fields}\n{ask(_HOST, headers=headers).strip()}", flush=True)


def _roll_out(name: str) -> None:
    """Roll a Deployment out while visitors come, and Alice among them."""
    answers = Counter[str]()
    with Load(80, _HOST, address=INGRESS) as load:
        kubectl("rollout", "restart", f"deployment/{name}", "--namespace", _NAME)
        # the Ingress is not read again: nginx would close kept-alive connections, and to the Services nothing changes
        kubectl("rollout", "status", f"deployment/{name}", "--namespace", _NAME, "--timeout=180s")
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            answers[ask(_HOST, headers=_ALICE)[:10]] += 1
    print(f"$ kubectl rollout restart deployment/{name}")
    print(f"{len(load.failed)} of {load.total} requests failed; to Alice answered: {dict(answers)}", flush=True)
    demand(not load.failed, f"requests failed while {name} was rolled out: {load.failed[:5]}")


def _next_steps(port: int) -> None:
    ingress.reload()
    where = " ".join(developers_arguments(_NAME, _HOST))
    kube = f"nsenter --net=/run/netns/{NAMESPACE} {BIN}/kubectl --kubeconfig={KUBECONFIG} --namespace={_NAME}"
    _say("It stays as it is; make cluster-down ends it. To play with it:")
    print(
        f"""\
export RTUNNEL_AUTH={secret_key(_NAME, "user.alice")}
rtunnel dev {_HOST} {where} --target :{port} --intercept header:X-User=alice -- python3 {_APP} {port}
rtunnel run {_HOST} {where} -- bash
rtunnel env {_HOST} {where}
curl -H 'Host: {_HOST}' -H 'X-User: alice' http://{INGRESS}/
rtunnel status http://{INGRESS}/ --check --header 'Host: {_HOST}'
{kube} get pods"""
    )
