"""The manifests of deploy/kubernetes: valid, the scenario, hardened, and started with options that we have."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

import kubernetes_validate
from kubernetes_validate.utils import latest_version, resources_from_file
from twisted.trial.unittest import SynchronousTestCase

import rtunnel
from rtunnel.settings import Address, ClientSettings, ServerSettings
from rtunnel.tap import Options

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "kubernetes"
PAGE = FOLDER.parent.parent / "docs" / "kubernetes.md"
OLDEST = "1.31"
"""What the oldest kubernetes-validate that setup.cfg allows knows."""


def resources() -> Iterator[Any]:
    """Yield every resource of the manifests."""
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from resources_from_file(str(path))


def resource(kind: str, name: str) -> Any:
    """Return one resource."""
    (found,) = (each for each in resources() if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def pod(name: str) -> Any:
    """Return the pod's spec of a Deployment."""
    return resource("Deployment", name)["spec"]["template"]["spec"]


def container(deployment: str, name: str) -> Any:
    """Return a container of a Deployment."""
    (found,) = (each for each in pod(deployment)["containers"] if each["name"] == name)
    return found


def ports(container: Any) -> dict[str, int]:
    """Return a container's ports by name."""
    return {port["name"]: port["containerPort"] for port in container["ports"]}


DEPLOYMENTS = ("proxy", "nginx")
OURS = (("proxy", "server"), ("nginx", "client"))


class ValidTests(SynchronousTestCase):
    def test_schema(self) -> None:
        for version in (OLDEST, latest_version()):
            for each in resources():
                kubernetes_validate.validate(each, version, strict=True)

    def test_what_is_there(self) -> None:
        self.assertEqual(
            sorted((each["kind"], each["metadata"]["name"]) for each in resources()),
            [
                ("Deployment", "nginx"),
                ("Deployment", "proxy"),
                ("Ingress", "nginx"),
                ("NetworkPolicy", "proxy"),
                ("Secret", "rtunnel"),
                ("Service", "proxy"),
                ("Service", "proxy-servers"),
            ],
        )

    def test_kustomization(self) -> None:
        (kustomization,) = resources_from_file(str(FOLDER / "kustomization.yaml"))
        files = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
        self.assertEqual(set(kustomization["resources"]), files)
        version = {"name": "rtunnel", "newName": "rtunnel", "newTag": rtunnel.__version__}
        self.assertEqual(kustomization["images"], [version])

    def test_the_image_is_this_version(self) -> None:
        for deployment, name in OURS:
            self.assertEqual(container(deployment, name)["image"], f"rtunnel:{rtunnel.__version__}")


class OptionTests(SynchronousTestCase):
    """Our own parser reads the arguments as the kubelet would hand them over."""

    def settings(self, deployment: str, name: str) -> Any:
        return self.parse(container(deployment, name)["args"], container(deployment, name)["env"])

    def parse(self, arguments: list[str], variables: Any) -> Any:
        """Return the settings that arguments mean."""
        for variable in variables:
            reference = variable["valueFrom"]["secretKeyRef"]
            value = resource("Secret", reference["name"])["stringData"][reference["key"]]
            arguments = [argument.replace(f"$({variable['name']})", value) for argument in arguments]
        self.assertNotIn("$(", "".join(arguments))
        # nothing of the environment of the tests
        self.patch(os, "environ", {})
        options = Options()
        options.parseOptions(arguments)
        asked = options.subOptions.resolved
        self.assertEqual(asked.warnings, ())
        return asked.settings

    def test_server(self) -> None:
        settings = self.settings("proxy", "server")
        assert isinstance(settings, ServerSettings)
        (listener,) = settings.listeners
        (rule,) = listener.rules
        named = ports(container("proxy", "server"))
        self.assertEqual(listener.listen, Address("", named["tunnel"]))
        self.assertEqual(listener.entrypoints, (Address("", named["entrypoint"]),))
        self.assertEqual(settings.admin, Address("", named["admin"]))
        self.assertEqual((listener.transport, listener.path), ("ws", "/proxy"))
        self.assertEqual((rule.pattern, rule.private), ("nginx.local", False))
        self.assertEqual(listener.http.trusted_proxies, (ip_network("10.0.0.0/8"),))
        self.assertLess(settings.stop_delay + settings.drain, pod("proxy")["terminationGracePeriodSeconds"])

    def test_client(self) -> None:
        settings = self.settings("nginx", "client")
        assert isinstance(settings, ClientSettings)
        (connector,) = settings.connectors
        (port,) = resource("Service", "proxy-servers")["spec"]["ports"]
        self.assertEqual(connector.server, Address("proxy-servers", port["port"]))
        self.assertEqual(connector.join, "all")
        self.assertEqual((connector.transport, connector.path, connector.weight), ("ws", "/proxy", 1))
        self.assertEqual(str(connector.target), f"localhost:{ports(container('nginx', 'nginx'))['http']}")
        self.assertEqual(settings.admin, Address("", ports(container("nginx", "client"))["admin"]))
        pause = int(container("nginx", "nginx")["lifecycle"]["preStop"]["exec"]["command"][1])
        # so that the service ends what is open then, and not the sidecar
        self.assertLess(pause, settings.drain)
        self.assertLess(settings.drain, pod("nginx")["terminationGracePeriodSeconds"])

    def test_the_page_says_the_same_in_the_words_of_gost(self) -> None:
        lines = [json.loads(line) for line in re.findall(r"^args: (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)]
        self.assertEqual(len(lines), len(OURS))
        for (deployment, name), arguments in zip(OURS, lines, strict=True):
            said = self.parse(arguments, container(deployment, name)["env"])
            self.assertEqual(said, self.settings(deployment, name))

    def test_both_name_the_same_tunnel(self) -> None:
        server, client = self.settings("proxy", "server"), self.settings("nginx", "client")
        tunnel = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")
        self.assertEqual(server.listeners[0].rules[0].tunnel, tunnel)
        self.assertEqual(client.connectors[0].tunnel, tunnel)


class ScenarioTests(SynchronousTestCase):
    def test_service(self) -> None:
        spec = resource("Service", "proxy")["spec"]
        self.assertEqual(spec["selector"], resource("Deployment", "proxy")["spec"]["selector"]["matchLabels"])
        self.assertEqual({port["name"]: port["port"] for port in spec["ports"]}, {"tunnel": 8421, "entrypoint": 80})
        for port in spec["ports"]:
            self.assertIn(port["targetPort"], ports(container("proxy", "server")))

    def test_the_address_of_each_server(self) -> None:
        """Without a virtual address in between, so the port is that of the container."""
        spec = resource("Service", "proxy-servers")["spec"]
        self.assertEqual(spec["selector"], resource("Service", "proxy")["spec"]["selector"])
        self.assertEqual((spec["clusterIP"], spec["publishNotReadyAddresses"]), ("None", True))
        (port,) = spec["ports"]
        self.assertEqual(port["port"], ports(container("proxy", "server"))[port["targetPort"]])

    def test_ingress(self) -> None:
        (rule,) = resource("Ingress", "nginx")["spec"]["rules"]
        self.assertEqual(rule["host"], "nginx.local")
        ways = {
            path["path"]: (path["backend"]["service"]["name"], path["backend"]["service"]["port"]["name"])
            for path in rule["http"]["paths"]
        }
        self.assertEqual(ways, {"/": ("proxy", "entrypoint"), "/proxy": ("proxy", "tunnel")})

    def test_rolling(self) -> None:
        for name in DEPLOYMENTS:
            spec = resource("Deployment", name)["spec"]
            self.assertEqual(spec["strategy"]["rollingUpdate"], {"maxUnavailable": 0, "maxSurge": 1})
            self.assertEqual(spec["minReadySeconds"], 10)
            self.assertEqual(spec["selector"]["matchLabels"]["app.kubernetes.io/name"], name)
            self.assertEqual(spec["template"]["metadata"]["labels"]["app.kubernetes.io/name"], name)

    def test_resources(self) -> None:
        wanted = {"limits": {"cpu": "1", "memory": "1000Mi"}, "requests": {"cpu": "10m", "memory": "10Mi"}}
        for name in DEPLOYMENTS:
            for each in pod(name)["containers"]:
                self.assertEqual(each["resources"], wanted)

    def test_probes(self) -> None:
        for deployment, name in OURS:
            spec = container(deployment, name)
            for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
                self.assertEqual(spec[probe]["httpGet"], {"path": path, "port": "admin"})


class HardenedTests(SynchronousTestCase):
    def test_pods(self) -> None:
        for name in DEPLOYMENTS:
            spec = pod(name)
            self.assertIs(spec["automountServiceAccountToken"], False)
            self.assertIs(spec["enableServiceLinks"], False)
            self.assertIs(spec["securityContext"]["runAsNonRoot"], True)
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            for key in ("hostNetwork", "hostPID", "hostIPC", "initContainers"):
                self.assertNotIn(key, spec)

    def test_containers(self) -> None:
        for name in DEPLOYMENTS:
            for each in pod(name)["containers"]:
                security = {**pod(name)["securityContext"], **each["securityContext"]}
                self.assertGreater(security["runAsUser"], 0)
                self.assertGreater(security["runAsGroup"], 0)
                self.assertIs(security["allowPrivilegeEscalation"], False)
                self.assertIs(security["readOnlyRootFilesystem"], True)
                self.assertEqual(security["capabilities"], {"drop": ["ALL"]})
                self.assertNotIn("privileged", security)

    def test_no_port_needs_a_privilege(self) -> None:
        for name in DEPLOYMENTS:
            for each in pod(name)["containers"]:
                self.assertTrue(all(port > 1024 for port in ports(each).values()), each["name"])
                self.assertTrue(all("hostPort" not in port for port in each["ports"]), each["name"])

    def test_the_tunnel_is_named_in_the_secret_only(self) -> None:
        for path in FOLDER.glob("*.yaml"):
            text = path.read_text(encoding="utf-8")
            self.assertEqual("10bc451e-" in text, path.name == "tunnel.yaml", path.name)

    def test_the_admin_port_is_closed_to_pods(self) -> None:
        policy = resource("NetworkPolicy", "proxy")["spec"]
        self.assertEqual(policy["podSelector"]["matchLabels"], resource("Service", "proxy")["spec"]["selector"])
        self.assertEqual(policy["policyTypes"], ["Ingress"])
        (rule,) = policy["ingress"]
        self.assertEqual([port["port"] for port in rule["ports"]], ["tunnel", "entrypoint"])
