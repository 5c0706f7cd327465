"""The Helm chart: it renders valid resources, of which the server starts with options that we have. Needs ``helm``."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from kubernetes_validate.utils import latest_version
from twisted.trial.unittest import SynchronousTestCase

import rtunnel
from rtunnel.routing.rules_file import read_rules
from rtunnel.settings import ServerSettings
from rtunnel.tap import Options
from tests.deploy.test_kubernetes import FOLDER, OLDEST, pod
from tests.support.processes import optional

CHART = FOLDER.parent / "helm" / "rtunnel"
TUNNEL = "10bc451e-59dc-4c70-999e-91a30813ac78"
ROUTES = {"routes": {"shop.example.org": TUNNEL, "api.example.org": TUNNEL.replace("1", "2")}}
EVERYTHING = {
    **ROUTES,
    "image": {"repository": "registry.example.org/rtunnel", "tag": "7"},
    "users": {"existingSecret": "people"},
    "permissions": {"existingSecret": "people", "key": "rights"},
    "extraArgs": ["--access-log=-", "--sticky=cookie"],
    "ingress": {"enabled": True, "className": "nginx", "tls": [{"hosts": ["shop.example.org"], "secretName": "tls"}]},
    "gateway": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
    "networkPolicy": {"metricsFrom": [{"namespaceSelector": {}}]},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "podLabels": {"team": "shop"},
    "podAnnotations": {"note": "1"},
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
}
SEVERAL = {
    **ROUTES,
    "replicas": 2,
    "registry": {"url": "redis://redis:6379", "existingSecret": "shared", "passwordKey": "registry-password"},
}


class ChartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.helm = optional("RTUNNEL_TEST_HELM", "helm")

    def run_helm(self, *arguments: str, values: Any = None) -> subprocess.CompletedProcess[str]:
        file = Path(self.mktemp()).absolute()
        file.write_text(json.dumps(values or {}), encoding="utf-8")
        command = [self.helm, arguments[0], *arguments[1:], str(CHART), "--values", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def render(self, values: Any, name: str = "shop") -> list[Any]:
        done = self.run_helm("template", name, "--kube-version", "1.31.0", values=values)
        self.assertEqual(done.returncode, 0, done.stderr)
        return list(yaml.safe_load_all(done.stdout))

    def test_lint(self) -> None:
        for values in ({}, EVERYTHING, SEVERAL):
            done = self.run_helm("lint", "--strict", values=values)
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_valid(self) -> None:
        for values in ({}, ROUTES, EVERYTHING, SEVERAL):
            for resource in self.render(values):
                # the schemas of Kubernetes do not have these two
                if resource["kind"] not in ("HTTPRoute", "PodMonitor"):
                    for version in (OLDEST, latest_version()):
                        kubernetes_validate.validate(resource, version, strict=True)

    def kinds(self, values: Any) -> list[str]:
        return sorted(resource["kind"] for resource in self.render(values))

    def test_what_is_there(self) -> None:
        usual = ["Deployment", "NetworkPolicy", "Secret", "Service", "Service"]
        self.assertEqual(self.kinds({}), usual)
        self.assertEqual(self.kinds(SEVERAL), sorted([*usual, "PodDisruptionBudget"]))
        self.assertEqual(self.kinds(EVERYTHING), sorted([*usual, "Ingress", "HTTPRoute", "PodMonitor"]))
        self.assertEqual(
            self.kinds({"existingRoutesSecret": "mine", "networkPolicy": {"enabled": False}}), ["Deployment", "Service", "Service"]
        )

    def only(self, resources: list[Any], kind: str) -> Any:
        (found,) = (resource for resource in resources if resource["kind"] == kind)
        return found

    def test_arguments_are_ours(self) -> None:
        self.patch(os, "environ", {})
        for values in ({}, ROUTES, EVERYTHING):
            deployment = self.only(self.render(values), "Deployment")
            (container,) = deployment["spec"]["template"]["spec"]["containers"]
            options = Options()
            options.parseOptions(container["args"])
            assert options.subOptions is not None
            settings = options.subOptions.resolved.settings
            assert isinstance(settings, ServerSettings)
            patience = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            self.assertLess(settings.stop_delay + settings.drain, patience)

    def test_several_servers(self) -> None:
        """They say to each other and to Redis who they are, and only they reach the port for that."""
        resources = self.render(SEVERAL)
        spec = self.only(resources, "Deployment")["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        files = {argument.partition("=")[2] for argument in container["args"] if "-file=/run" in argument}
        self.assertEqual(files, {"/run/secrets/rtunnel/registry-password", "/run/secrets/rtunnel/peer-secret"})
        self.assertIn({"name": "registry", "secret": {"secretName": "shared"}}, spec["volumes"])
        (rule,) = (rule for rule in self.only(resources, "NetworkPolicy")["spec"]["ingress"] if {"port": "peer"} in rule["ports"])
        labels = rule["from"][0]["podSelector"]["matchLabels"]
        self.assertLessEqual(labels.items(), self.only(resources, "Deployment")["spec"]["template"]["metadata"]["labels"].items())

    def test_rules(self) -> None:
        secret = self.only(self.render(ROUTES), "Secret")
        rules = {rule.pattern: str(rule.tunnel) for rule in read_rules(secret["stringData"]["routes"])}
        self.assertEqual(rules, ROUTES["routes"])
        self.assertEqual({host: secret["stringData"][host] for host in rules}, ROUTES["routes"])
        self.assertEqual(read_rules(self.only(self.render({}), "Secret")["stringData"]["routes"]), ())

    def test_mistakes(self) -> None:
        for values, hint in (
            ({"replicas": 2}, "several servers need a registry"),
            ({"registry": {"url": "redis://redis"}}, "name the Secret"),
            ({"routes": {"a": "1"}}, "the ID of a is not a UUID"),
            ({"ingress": {"enabled": True}}, "name your hosts"),
            ({**ROUTES, "gateway": {"enabled": True}}, "name the Gateway"),
        ):
            done = self.run_helm("template", "shop", "--kube-version", "1.31.0", values=values)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(hint, done.stderr)

    def test_hosts(self) -> None:
        ingress = self.only(self.render(EVERYTHING), "Ingress")
        self.assertEqual([rule["host"] for rule in ingress["spec"]["rules"]], sorted(ROUTES["routes"]))
        for rule in ingress["spec"]["rules"]:
            ports = {path["path"]: path["backend"]["service"]["port"]["name"] for path in rule["http"]["paths"]}
            self.assertEqual(ports, {"/proxy": "tunnel", "/": "entrypoint"})
        route = self.only(self.render(EVERYTHING), "HTTPRoute")
        self.assertEqual(route["spec"]["hostnames"], sorted(ROUTES["routes"]))

    def test_hardened_like_the_manifests(self) -> None:
        (container,) = self.only(self.render({}), "Deployment")["spec"]["template"]["spec"]["containers"]
        self.assertEqual(container["securityContext"], pod("proxy")["containers"][0]["securityContext"])
        spec = self.only(self.render({}), "Deployment")["spec"]["template"]["spec"]
        for key in ("automountServiceAccountToken", "enableServiceLinks", "securityContext"):
            self.assertEqual(spec[key], pod("proxy")[key])


class VersionTests(SynchronousTestCase):
    def test_is_ours(self) -> None:
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
        self.assertEqual((chart["version"], chart["appVersion"]), (rtunnel.__version__, rtunnel.__version__))
