"""The manifests of deploy/kubernetes-replicas: with its patches the base is valid, and is started with options that we have."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
from kubernetes_validate.utils import latest_version, resources_from_file
from twisted.trial.unittest import SynchronousTestCase

import rtunnel
from rtunnel.settings import Address, ServerSettings
from rtunnel.tap import Options
from tests.deploy import test_kubernetes as base

FOLDER = base.FOLDER.parent / "kubernetes-replicas"


def documents(name: str) -> list[Any]:
    """The documents of one of the files."""
    return list(resources_from_file(str(FOLDER / name)))


(KUSTOMIZATION,) = documents("kustomization.yaml")


def patched(resource: Any, operations: list[Any]) -> Any:
    """A resource after the operations of a JSON patch (RFC 6902): those that are used here."""
    resource = copy.deepcopy(resource)
    for operation in operations:
        *path, last = operation["path"].lstrip("/").split("/")
        place = resource
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if isinstance(place, list):
            assert (operation["op"], last) == ("add", "-")
            place.append(operation["value"])
        else:
            assert operation["op"] == ("replace" if last in place else "add"), operation
            place[last] = operation["value"]
    return resource


def resources() -> Iterator[Any]:
    """Every resource that kustomize makes."""
    patches = {
        (patch["target"]["kind"], patch["target"]["name"]): documents(patch["path"])[0] for patch in KUSTOMIZATION["patches"]
    }
    own = [each for name in KUSTOMIZATION["resources"] if name.endswith(".yaml") for each in documents(name)]
    for each in (*base.resources(), *own):
        yield patched(each, patches.pop((each["kind"], each["metadata"]["name"]), []))
    assert not patches, patches


def resource(kind: str, name: str) -> Any:
    """One of them."""
    (found,) = (each for each in resources() if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def pod(name: str) -> Any:
    """The pod's spec of a Deployment."""
    return resource("Deployment", name)["spec"]["template"]["spec"]


class ReplicasTests(SynchronousTestCase):
    def test_schema(self) -> None:
        for version in (base.OLDEST, latest_version()):
            for each in resources():
                kubernetes_validate.validate(each, version, strict=True)

    def test_kustomization(self) -> None:
        files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
        named = {*KUSTOMIZATION["resources"], *(patch["path"] for patch in KUSTOMIZATION["patches"])}
        self.assertEqual(named, {*files, "../kubernetes"})
        self.assertEqual(KUSTOMIZATION["images"], [{"name": "rtunnel", "newName": "rtunnel", "newTag": rtunnel.__version__}])

    def test_what_is_added(self) -> None:
        before = {(each["kind"], each["metadata"]["name"]) for each in base.resources()}
        self.assertEqual(
            sorted({(each["kind"], each["metadata"]["name"]) for each in resources()} - before),
            [
                ("Deployment", "redis"),
                ("NetworkPolicy", "redis"),
                ("PodDisruptionBudget", "proxy"),
                ("Secret", "rtunnel-replicas"),
                ("Service", "redis"),
            ],
        )

    def test_options(self) -> None:
        """Our own parser reads the arguments as the kubelet would hand them over, and finds the files of the Secret."""
        secrets = Path(self.mktemp()).absolute()
        secrets.mkdir()
        for name, value in resource("Secret", "rtunnel-replicas")["stringData"].items():
            (secrets / name).write_text(value)
            (secrets / name).chmod(0o600)
        (container,) = pod("proxy")["containers"]
        (mount,) = container["volumeMounts"]
        (volume,) = pod("proxy")["volumes"]
        self.assertEqual((mount["name"], volume["secret"]["secretName"]), (volume["name"], "rtunnel-replicas"))
        arguments = [
            argument.replace("$(TUNNEL)", "10bc451e-59dc-4c70-999e-91a30813ac78")
            .replace("$(POD_IP)", "10.1.0.7")
            .replace(mount["mountPath"], str(secrets))
            for argument in container["args"]
        ]
        self.assertEqual({variable["name"] for variable in container["env"]}, {"TUNNEL", "POD_IP"})
        self.patch(os, "environ", {})
        options = Options()
        options.parseOptions(arguments)
        settings = options.subOptions.resolved.settings
        assert isinstance(settings, ServerSettings)
        (redis,) = resource("Service", "redis")["spec"]["ports"]
        self.assertEqual(str(settings.registry.address), f"redis://redis:{redis['port']}")
        self.assertEqual(settings.registry.password, (secrets / "registry-password").read_text())
        port = base.ports(container)["peer"]
        self.assertEqual((settings.peer.listen, settings.peer.address), (Address("", port), Address("10.1.0.7", port)))
        self.assertEqual(settings.peer.secret_file, str(secrets / "peer-secret"))
        self.assertGreaterEqual(len((secrets / "peer-secret").read_text()), 16)

    def test_two_on_different_nodes(self) -> None:
        spec = resource("Deployment", "proxy")["spec"]
        labels = spec["selector"]["matchLabels"]
        self.assertEqual(spec["replicas"], 2)
        self.assertEqual(spec["strategy"]["rollingUpdate"], {"maxUnavailable": 0, "maxSurge": 1})
        (term,) = pod("proxy")["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        self.assertEqual(term["podAffinityTerm"]["labelSelector"]["matchLabels"], labels)
        budget = resource("PodDisruptionBudget", "proxy")["spec"]
        self.assertEqual((budget["minAvailable"], budget["selector"]["matchLabels"]), (1, labels))

    def test_who_reaches_what(self) -> None:
        """The port of the peers: servers. Redis: servers."""
        servers = [{"podSelector": {"matchLabels": resource("Service", "proxy")["spec"]["selector"]}}]
        everybody, peers = resource("NetworkPolicy", "proxy")["spec"]["ingress"]
        self.assertNotIn("peer", {port["port"] for port in everybody["ports"]})
        self.assertEqual((peers["from"], peers["ports"]), (servers, [{"port": "peer"}]))
        policy = resource("NetworkPolicy", "redis")["spec"]
        self.assertEqual(policy["podSelector"]["matchLabels"], resource("Service", "redis")["spec"]["selector"])
        (rule,) = policy["ingress"]
        self.assertEqual((rule["from"], rule["ports"]), (servers, [{"port": "redis"}]))

    def test_redis_is_hardened(self) -> None:
        spec = pod("redis")
        (container,) = spec["containers"]
        self.assertIs(spec["automountServiceAccountToken"], False)
        self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
        self.assertGreater(spec["securityContext"]["runAsUser"], 0)
        self.assertIs(container["securityContext"]["readOnlyRootFilesystem"], True)
        self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"]})
        self.assertEqual(resource("Deployment", "redis")["spec"]["strategy"], {"type": "Recreate"})
        self.assertNotIn("requirepass 2f8e", str(container))
