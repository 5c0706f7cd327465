"""Every manifest that we ship or generate, and what the API server says of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

import yaml

from rtunnel.inject.injection import uninject
from tests.cluster.api_server import Api
from tests.cluster.programs import BIN, provide_definitions
from tests.cluster.shell import ROOT, ClusterError, run
from tests.deploy import test_helm, test_kubernetes, test_kubernetes_replicas
from tests.inject.test_injection import CASES, documents, injected, source
from tests.inject.test_patch import merged

__all__ = ["dry_run"]

_NAMESPACE: Final = "dry-run"
_OURS: Final = ("rtunnel", "rtunnel-env", "server", "client")
"""The names of our containers."""
_FOREIGN: Final = ("Widget",)
"""Kinds that nobody has defined, in what the tests inject."""


def dry_run(api: Api) -> str:
    """Have an API server judge all of them: resources, and the pods of their templates in a namespace for restricted ones.

    :returns: how many there were.
    :raises ClusterError: it does not accept one, does not know its kind, or one of our containers is not restricted.
    """
    for path in provide_definitions():
        api.define(yaml.safe_load(path.read_text(encoding="utf-8")))
    level = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE, "labels": level}})
    # nobody else is there who would create it, and a pod needs one
    api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}, _NAMESPACE)
    resources, pods = 0, 0
    for origin, resource in _everything():
        name = f"{origin}: {resource['kind']} {resource['metadata']['name']}"
        if resource["kind"] in _FOREIGN:
            continue
        if not api.serves(resource):
            raise ClusterError(f"{name}: the API server does not know {resource['apiVersion']}")
        resource["metadata"].pop("namespace", None)
        refusal = api.dry_run(resource, _NAMESPACE).refusal
        if refusal:
            raise ClusterError(f"{name} is refused: {refusal}")
        resources += 1
        pod = _pod(resource)
        if pod is not None:
            _demand_restricted(api, name, pod, whole=not origin.startswith("tests/"))
            pods += 1
    return f"{resources} resources and {pods} pods accepted"


def _pod(resource: Any) -> Any:
    """A pod as a controller would make it of a resource's template; ``None`` if it has none."""
    spec = resource.get("spec", {})
    template = spec.get("jobTemplate", {"spec": spec})["spec"].get("template")
    if template is None:
        return None
    of_claims = [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in spec.get("volumeClaimTemplates", ())]
    pod = {key: value for key, value in template["spec"].items() if not key.startswith("serviceAccount")}
    pod["volumes"] = [*pod.get("volumes", ()), *of_claims]
    metadata = {**template.get("metadata", {}), "generateName": "pod-"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}


def _demand_restricted(api: Api, name: str, pod: Any, *, whole: bool) -> None:
    """Pod Security accepts a pod, or finds no fault with our containers in it.

    :param whole: whether the pod is ours, and not an application of the tests.
    """
    refusal = api.dry_run(pod, _NAMESPACE).refusal
    faults = refusal.partition('violates PodSecurity "restricted:latest"')[2]
    if refusal and (whole or not faults or any(f'"{ours}"' in faults for ours in _OURS)):
        raise ClusterError(f"a pod of {name} is refused: {refusal}")


def _everything() -> Iterator[tuple[str, Any]]:
    """The manifests, with where they come from."""
    for resource in test_kubernetes.resources():
        yield "deploy/kubernetes", resource
    for resource in test_kubernetes_replicas.resources():
        yield "deploy/kubernetes-replicas", resource
    yield from _examples()
    yield from _charts()
    yield from _injections()


def _examples() -> Iterator[tuple[str, Any]]:
    def read(name: str) -> Any:
        return yaml.safe_load((ROOT / "examples" / name).read_text(encoding="utf-8"))

    yield "examples/server-configmap.yaml", read("server-configmap.yaml")
    for deployment, name in (("nginx", "sidecar.yaml"), ("proxy", "server-configmap-patch.yaml")):
        patched = merged(copy.deepcopy(test_kubernetes.resource("Deployment", deployment)), read(name))
        yield f"examples/{name}", patched


def _charts() -> Iterator[tuple[str, Any]]:
    """The chart, with the values of its tests, and its parts of other makers one by one."""
    parts = [{**test_helm.SEVERAL, key: test_helm.EVERYTHING[key]} for key in ("gateway", "podMonitor", "ingress")]
    for values in ({}, test_helm.ROUTES, test_helm.EVERYTHING, test_helm.SEVERAL, *parts):
        command = (str(BIN / "helm"), "template", "shop", str(test_helm.CHART), "--kube-version", "1.31.0", "--values", "-")
        for resource in documents(run(*command, text=json.dumps(values))):
            yield "deploy/helm", resource


def _injections() -> Iterator[tuple[str, Any]]:
    """What ``rtunnel inject`` gets in its tests, makes of it, and gives back."""
    for name in CASES:
        there = injected(name).text
        for what, text in (("before", source(name)), ("injected", there), ("uninjected", uninject(there).text)):
            for resource in documents(text):
                # the pod is a test of Helm's own starting chart
                if resource["kind"] != "Pod":
                    yield f"tests/data/inject/{name}.yaml {what}", resource
