"""What the cluster proves, one check after another; each says what it measured, or fails."""

from __future__ import annotations

import json
import time
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
from tests.cluster.shell import ROOT, inside, run, wait_until
from tests.cluster.using import ask, demand, example_services, joined_laptop, roll, rolled_out, temporary_namespace, tunnel_of

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


# -- rollouts


def rollouts() -> str:
    """At 100 requests a second, the service and then the server are rolled out: nobody notices."""
    found = []
    with temporary_namespace("rollouts") as namespace:
        kubectl("apply", "--namespace", namespace, "--kustomize", str(ROOT / "deploy" / "kubernetes"))
        rolled_out(namespace, "deployment/proxy", "deployment/nginx")
        wait_until(lambda: ask("nginx.local").startswith("pod"), "the pod serves through the Ingress")
        for name in ("nginx", "proxy"):
            failed, total = roll(namespace, name, "nginx.local")
            found.append(f"{name}: {len(failed)} of {total} failed{f' ({dict(Counter(failed))})' if failed else ''}")
    demand(all(": 0 of" in line for line in found), "; ".join(found))
    return "; ".join(found)


def replicas() -> str:
    """Two servers with Redis: a laptop at one of them gets requests of both; servers, service and Redis are rolled out."""
    found = []
    with temporary_namespace("replicas") as namespace:
        kubectl("apply", "--namespace", namespace, "--kustomize", str(ROOT / "deploy" / "kubernetes-replicas"))
        rolled_out(namespace, "deployment/redis", "deployment/proxy", "deployment/nginx")
        wait_until(lambda: ask("nginx.local").startswith("pod"), "the pod serves through the Ingress")
        with joined_laptop("nginx.local", _ID, "--intercept", "header:X-User=alice"):
            mine = Counter(ask("nginx.local", headers={"X-User": "alice"}) for _ in range(100))
        demand(set(mine) == {"laptop"}, f"the intercept got {dict(mine)}")
        for name in ("proxy", "nginx", "redis"):
            failed, total = roll(namespace, name, "nginx.local")
            found.append(f"{name}: {len(failed)} of {total} failed{f' ({dict(Counter(failed))})' if failed else ''}")
    demand(all(": 0 of" in line for line in found), "; ".join(found))
    return f"an intercept: 100 of 100 at both servers; {'; '.join(found)}"


# -- the first five minutes


def quickstart() -> str:
    """From an empty namespace to the laptop: two commands in the cluster, two on the laptop."""
    with temporary_namespace("quickstart") as namespace:
        began = time.monotonic()
        kubectl("apply", "--namespace", namespace, "--filename", "-", text=example_services()["web"])
        rolled_out(namespace, "deployment/web")
        arguments = ("get", "deployment,service,ingress", "--namespace", namespace, "--output", "yaml")
        outcome = inject(kubectl(*arguments), Wanted(host="web.example.org", image=OURS))
        kubectl("apply", "--namespace", namespace, "--filename", "-", text=outcome.text)
        rolled_out(namespace, "deployment/proxy", "deployment/web")
        tunnel = tunnel_of(namespace, "web.example.org")
        wait_until(lambda: ask("web.example.org").startswith("pod"), "the pod serves through the server")
        with joined_laptop("web.example.org", tunnel, "--intercept", "header:X-User=alice"):
            wait_until(lambda: ask("web.example.org", headers={"X-User": "alice"}) == "laptop", "the laptop serves")
        seconds = time.monotonic() - began
    demand(seconds < 300, f"it took {seconds:.0f} s")
    return f"{seconds:.0f} s"


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
