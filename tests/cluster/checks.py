"""What the cluster proves, one check after another; each says what it measured, or fails."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from difflib import unified_diff
from typing import Any, Final

import yaml

from rtunnel.inject.injection import Wanted, inject, uninject
from tests.cluster.api_server import api_server
from tests.cluster.context import context
from tests.cluster.edge import hops, idle, tls
from tests.cluster.images import OURS
from tests.cluster.manifests import dry_run
from tests.cluster.node import KUBECONFIG, kubectl
from tests.cluster.programs import BIN
from tests.cluster.quickstart import quickstart
from tests.cluster.rollouts import replicas, rollouts
from tests.cluster.shell import ROOT, inside, run, wait_until
from tests.cluster.using import ask, demand, example_services, joined_laptop, rolled_out, temporary_namespace, tunnel_of

__all__ = ["CHECKS", "Check"]

Check = Callable[[], str]

_ID: Final = "10bc451e-59dc-4c70-999e-91a30813ac78"
_BY_THE_SERVER: Final = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


# -- manifests


def dry_runs() -> str:
    """An API server accepts everything that we ship and generate."""
    with api_server() as api:
        return dry_run(api)


# -- the scenario


def scenario() -> str:
    """deploy/kubernetes as it is: the pod serves, a laptop gets its share, all of it, and one developer's own requests."""
    with temporary_namespace("scenario") as namespace:
        kubectl("apply", "--namespace", namespace, "--kustomize", str(ROOT / "deploy" / "kubernetes"))
        rolled_out(namespace, "deployment/proxy", "deployment/nginx")
        host = "nginx.local"
        wait_until(lambda: ask(host).startswith("pod"), "the pod serves through the Ingress")
        with joined_laptop(host, _ID):
            answers = Counter(ask(host)[:3] for _ in range(200))
        demand(set(answers) == {"pod", "lap"} and 60 <= answers["lap"] <= 140, f"with weight 1 the answers were {dict(answers)}")
        with joined_laptop(host, _ID, "--weight", "255"):
            demand(all(ask(host) == "laptop" for _ in range(50)), "weight 255 did not take all requests")
        with joined_laptop(host, _ID, "--intercept", "header:X-User=alice"):
            mine = {ask(host, headers={"X-User": "alice"}) for _ in range(50)}
            others = {ask(host)[:3] for _ in range(50)}
        demand(mine == {"laptop"} and others == {"pod"}, f"the intercept got {mine}, the others {others}")
        demand(ask(host).startswith("pod"), "the pod does not serve again")
    return f"weight 1: {answers['lap']} of 200 to the laptop; weight 255: 50 of 50; an intercept: 50 of 50, of others 0"


# -- inject


def injected() -> str:
    """Three services of different kinds: injected, used, and uninjected again."""
    services = example_services()
    with temporary_namespace("inject") as namespace:
        for name, text in services.items():
            _there_and_back(namespace, name, text)
    return f"{', '.join(services)}: served, taken by a laptop, and as before"


def _there_and_back(namespace: str, name: str, text: str) -> None:
    """Inject one service, use it, and uninject it."""
    host, workload = f"{name}.example.org", f"{'statefulset' if name == 'data' else 'deployment'}/{name}"
    kubectl("apply", "--namespace", namespace, "--filename", "-", text=text)
    rolled_out(namespace, workload)
    before = _specs(namespace, name)
    everything = ("get", "deployment,statefulset,service,ingress,secret", "--namespace", namespace, "--output", "yaml")
    outcome = inject(kubectl(*everything), Wanted(host=host, image=OURS))
    kubectl("apply", "--namespace", namespace, "--filename", "-", text=outcome.text)
    rolled_out(namespace, "deployment/proxy", workload)
    wait_until(lambda: ask(host).startswith("pod"), f"{name} is served through the server")
    with joined_laptop(host, tunnel_of(namespace, host), "--weight", "255"):
        demand(ask(host) == "laptop", f"a laptop does not get the requests of {name}")
    back = uninject(kubectl(*everything, "--selector", f"app.kubernetes.io/name={name}"))
    kubectl("apply", "--namespace", namespace, "--filename", "-", text=back.text)
    rolled_out(namespace, workload)
    after = _specs(namespace, name)
    demand(after == before, f"the resources of {name} are not what they were: {_difference(before, after)}")
    wait_until(lambda: ask(host).startswith("pod"), f"{name} is served without the server")


def _difference(before: Any, after: Any) -> str:
    there, back = (yaml.safe_dump(found).splitlines() for found in (before, after))
    return "\n".join(line for line in unified_diff(there, back, lineterm="") if line[:1] in "+-")


def _specs(namespace: str, name: str) -> Any:
    """What the resources of a service say, without what the API server adds."""
    selector = f"app.kubernetes.io/name={name}"
    kinds = "deployment,statefulset,service,ingress"
    text = kubectl("get", kinds, "--namespace", namespace, "--selector", selector, "--output", "json")
    found = []
    for item in json.loads(text)["items"]:
        item.pop("status", None)
        for key in _BY_THE_SERVER:
            item["metadata"].pop(key, None)
        item["metadata"].get("annotations", {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
        item["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
        found.append(item)
    return found


def chart() -> str:
    """The Helm chart, installed; a service is injected into it."""
    host, name = "web.example.org", "rtunnel"
    with temporary_namespace("chart") as namespace:
        values = json.dumps({"routes": {host: _ID}, "image": {"repository": "rtunnel"}})
        helm = inside(str(BIN / "helm"), f"--kubeconfig={KUBECONFIG}", "install", name, str(ROOT / "deploy" / "helm" / "rtunnel"))
        run(*helm, "--namespace", namespace, "--values", "-", "--timeout", "180s", text=values)
        kubectl("apply", "--namespace", namespace, "--filename", "-", text=example_services()["web"])
        everything = ("get", "deployment,service,ingress,secret", "--namespace", namespace, "--output", "yaml")
        outcome = inject(kubectl(*everything), Wanted(host=host, image=OURS, server=name))
        kubectl("apply", "--namespace", namespace, "--filename", "-", text=outcome.text)
        rolled_out(namespace, f"deployment/{name}", "deployment/web")
        wait_until(lambda: ask(host).startswith("pod"), "the service is served through the chart's server")
        with joined_laptop(host, _ID, "--weight", "255"):
            demand(ask(host) == "laptop", "a laptop does not get the requests")
    return "installed, a service injected, taken by a laptop"


CHECKS: Final[dict[str, Check]] = {
    "dry-runs": dry_runs,
    "scenario": scenario,
    "inject": injected,
    "chart": chart,
    "tls": tls,
    "idle": idle,
    "hops": hops,
    "context": context,
    "rollouts": rollouts,
    "replicas": replicas,
    "quickstart": quickstart,
}
