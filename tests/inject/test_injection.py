"""Manifests with the sidecar, and as they were again.

``tests/data/inject/NAME.yaml`` are manifests, ``NAME.injected.yaml`` what becomes of them; after a change on purpose,
``rtunnel inject NAME.yaml`` with the arguments of :data:`CASES` writes them anew.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import kubernetes_validate
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kubernetes_validate.utils import latest_version
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.inject.context import TOKEN, Context
from rtunnel.inject.injection import InjectError, Outcome, Wanted, inject, uninject
from rtunnel.inject.server_manifests import Access, User
from rtunnel.routing.rules_file import read_rules
from rtunnel.tap import Options
from tests.deploy.test_kubernetes import OLDEST

FOLDER = Path(__file__).parent.parent / "data" / "inject"
HOST = "shop.example.org"
TUNNEL = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")

CASES: dict[str, dict[str, Any]] = {
    "deployment": {},
    "classic": {"native": False, "server": "tunnels", "image": "registry.example.org/rtunnel:7"},
    "statefulset": {},
    "list": {},
    "job": {"port": "9000"},
    "kinds": {"port": "progress"},
    "route": {},
    "chart": {},
    "second": {"host": "api.example.org"},
    "context": {
        "context": Context(env=True, env_allow_secret="DB_USER", files=True, reach="postgres:5432,*.shop.svc:80"),
        "access": Access(
            User("pod", "the password of the sidecars", "$argon2id$v=19$m=19456,t=2,p=1$AAAA$BBBB"),
            (User("alice", "the password of Alice", "$argon2id$v=19$m=19456,t=2,p=1$CCCC$DDDD"),),
            ("env", "files", "reach"),
        ),
    },
}


def source(name: str) -> str:
    """The manifests of a case."""
    return (FOLDER / f"{'deployment' if name == 'classic' else name}.yaml").read_text(encoding="utf-8")


def injected(name: str, text: str | None = None) -> Outcome:
    """What becomes of them."""
    wanted = Wanted(**({"host": HOST, "image": "rtunnel:0.1.0"} | CASES[name]))
    return inject(source(name) if text is None else text, wanted, lambda: TUNNEL)


def documents(text: str) -> Iterator[Any]:
    """The resources of a text, those of lists one by one."""
    for document in filter(None, yaml.safe_load_all(text)):
        yield from document["items"] if document["kind"] == "List" else [document]


def pods(text: str) -> Iterator[Any]:
    """The pod specs of a text."""
    for document in documents(text):
        spec = document.get("spec", {})
        template = spec.get("jobTemplate", {"spec": spec})["spec"].get("template")
        if template is not None:
            yield template["spec"]


def containers(text: str, name: str) -> Iterator[Any]:
    """The containers of a name."""
    for pod in pods(text):
        yield from (one for one in pod.get("initContainers", []) + pod["containers"] if one["name"] == name)


class GoldenTests(SynchronousTestCase):
    def each(self) -> Iterator[tuple[str, str]]:
        for name in CASES:
            with self.subTest(name=name):
                yield name, (FOLDER / f"{name}.injected.yaml").read_text(encoding="utf-8")

    def test_injected(self) -> None:
        for name, expected in self.each():
            self.assertEqual(injected(name).text, expected)

    def test_uninjected_byte_for_byte(self) -> None:
        for name, text in self.each():
            if name != "second":
                self.assertEqual(uninject(text).text, source(name))

    def test_twice_is_once(self) -> None:
        for name, text in self.each():
            again = injected(name, text)
            self.assertEqual(again.text, text)
            self.assertFalse([report for report in again.reports if report.changed])

    def test_after_the_cluster(self) -> None:
        """The API server keeps no comments and no order of keys; what is uninjected means what was there before."""
        for name, text in self.each():
            if name == "second":
                continue
            kept = yaml.safe_dump_all(yaml.safe_load_all(text))
            self.assertEqual(list(documents(uninject(kept).text)), list(documents(source(name))))

    def test_valid(self) -> None:
        for _, text in self.each():
            for document in documents(text):
                if "example.org" not in document["apiVersion"] and "gateway" not in document["apiVersion"]:
                    for version in (OLDEST, latest_version()):
                        kubernetes_validate.validate(document, version, strict=True)

    def test_arguments_are_ours(self) -> None:
        self.patch(os, "environ", {})
        for name, text in self.each():
            found = [*containers(text, "rtunnel"), *containers(text, "server")]
            self.assertTrue(found, name)
            for container in found:
                more = ["--tunnel", str(TUNNEL)] if container["name"] == "rtunnel" else []
                options = Options()
                options.parseOptions([one.replace("$(POD_NAME)", "shop-7d9") for one in container["args"]] + more)
                assert options.subOptions is not None
                self.assertEqual(options.subOptions.resolved.warnings, ())

    def test_the_server_knows_the_tunnel(self) -> None:
        for name, text in self.each():
            host = CASES[name].get("host", HOST)
            for secret in (one for one in documents(text) if one["kind"] == "Secret" and "stringData" in one):
                (rule,) = read_rules(secret["stringData"]["routes"])
                self.assertEqual((rule.pattern, str(rule.tunnel)), (host, secret["stringData"][host]))

    def test_restricted_pods(self) -> None:
        """What Pod Security's level "restricted" demands of a container, and no token of the service account."""
        for _, text in self.each():
            for container in (*containers(text, "rtunnel"), *containers(text, "rtunnel-env")):
                security = container["securityContext"]
                self.assertTrue(security["runAsNonRoot"])
                self.assertFalse(security["allowPrivilegeEscalation"])
                self.assertEqual(security["capabilities"], {"drop": ["ALL"]})
                self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})
            for pod in pods(text):
                for container in pod.get("initContainers", []) + pod["containers"]:
                    if container["name"].startswith("rtunnel") and pod.get("automountServiceAccountToken", True):
                        (mount,) = (one for one in container["volumeMounts"] if one["mountPath"] == TOKEN)
                        (volume,) = (one for one in pod["volumes"] if one["name"] == mount["name"])
                        self.assertIn("emptyDir", volume)


class ReportTests(SynchronousTestCase):
    """What people read."""

    def lines(self, name: str) -> list[str]:
        return [str(report) for report in injected(name).reports]

    def test_injected(self) -> None:
        self.assertEqual(
            self.lines("deployment"),
            [
                "deployment/shop: injected: serves its share of shop.example.org at app:3000; its pods restart",
                "ingress/shop: 1 path leads to proxy now; laptops join at shop.example.org/proxy",
                "secret/rtunnel: added",
                "deployment/proxy: added",
                "service/proxy: added",
                "service/proxy-servers: added",
                "networkpolicy/proxy: added",
            ],
        )

    def test_when(self) -> None:
        """What has to be done for the change to count depends on the kind."""
        lines = [line for name in ("job", "kinds", "list") for line in self.lines(name) if ": injected" in line]
        self.assertEqual(
            [line.partition("/")[0] + line.rpartition(";")[2] for line in lines],
            [
                "cronjob from its next run on",
                "job one that is in the cluster has to be deleted first, since its template cannot be changed",
                "replicaset pods that it has stay as they are until they are deleted",
                "daemonset its pods restart",
            ],
        )

    def test_notes(self) -> None:
        self.assertIn(
            "service/db: note: it is headless; who uses its name reaches the pods, not the laptops", self.lines("statefulset")
        )
        self.assertIn(
            "statefulset/db: note: linkerd.io/inject: the mesh must let the sidecar reach proxy:8421", self.lines("statefulset")
        )
        self.assertIn(
            "shop.example.org: note: no Ingress or HTTPRoute of it is in the input; lead it to the Service proxy", self.lines("job")
        )

    def test_skipped(self) -> None:
        (agent,) = (line for line in self.lines("list") if line.startswith("daemonset/agent"))
        self.assertIn("skipped: hostNetwork", agent)
        self.assertIn(
            "deployment/shop: skipped: no Service that api.example.org leads to has its pods", self.why("api.example.org")
        )
        self.assertIn("has no container web, but app", self.why(HOST, container="web"))
        self.assertIn("is not the one that --workload names", self.why(HOST, workload="deployment/other"))
        changed = source("deployment").replace("targetPort: web", "targetPort: http")
        self.assertIn('no container has a port named "http"; give its number with --port', self.why(HOST, changed))
        changed = source("deployment").replace("name: app\n", "name: rtunnel\n")
        self.assertIn("has a container rtunnel already", self.why(HOST, changed))

    def why(self, host: str, text: str = "", **more: Any) -> str:
        text = text or source("deployment").replace("host: other.example.org", "host: api.example.org")
        error = self.assertRaises(InjectError, inject, text, Wanted(host=host, image="rtunnel:1", **more))
        return str(error)

    def test_a_port_is_needed(self) -> None:
        error = self.assertRaises(InjectError, inject, source("job"), Wanted(host=HOST, image="rtunnel:1"))
        self.assertIn("give it with --port", str(error))

    def test_the_secret_is_needed(self) -> None:
        first = injected("deployment").text
        text = "---\n".join(part for part in first.split("---\n") if "kind: Secret" not in part)
        error = self.assertRaises(InjectError, injected, "deployment", text)
        self.assertIn("kubectl get deploy,svc,ing,secret", str(error))

    def test_no_manifests(self) -> None:
        for text, hint in {
            "": "no manifests",
            "just text": "no manifests",
            "a: [": "not YAML in line 1",
            "{{ .Values.x }}: y": "no pods of shop.example.org here",
            "kind: Service\nmetadata: {name: a}": "no pods of shop.example.org here",
        }.items():
            with self.subTest(text=text):
                self.assertIn(hint, str(self.assertRaises(InjectError, inject, text, Wanted(host=HOST, image="i"))))
        self.assertRaises(InjectError, uninject, source("deployment"))

    def test_a_damaged_annotation(self) -> None:
        text = injected("deployment").text.replace('"backends"', '"back"')
        (line,) = (str(report) for report in uninject(text).reports if "ingress" in report.resource)
        self.assertIn("is damaged", line)


class StopTests(SynchronousTestCase):
    """When a pod stops, the sidecar leaves first, and the application goes on for as long as that may take."""

    def pod(self, before: str, after: str, **more: Any) -> tuple[Any, list[str]]:
        """The pod of a changed Deployment, injected, and what the report says of it."""
        text = source("deployment").replace(before, after)
        self.assertNotEqual(text, source("deployment"))
        outcome = inject(text, Wanted(host=HOST, image="rtunnel:1", **more), lambda: TUNNEL)
        self.assertEqual(uninject(outcome.text).text, text)
        (pod,) = (pod for pod in pods(outcome.text) if pod["containers"][0]["name"] == "app")
        return pod, [str(report) for report in outcome.reports]

    def test_short_of_time(self) -> None:
        """The API server refuses a pause that is longer than the pod has."""
        for seconds, has_time in ((13, True), (12, False), (0, False)):
            for native in (True, False):
                more = f"    spec:\n      terminationGracePeriodSeconds: {seconds}\n      securityContext:"
                pod, lines = self.pod("    spec:\n      securityContext:", more, native=native)
                self.assertEqual("lifecycle" in pod["containers"][0], has_time)
                self.assertEqual(any("terminationGracePeriodSeconds is below 13" in line for line in lines), not has_time)

    def test_what_the_application_does_itself(self) -> None:
        own = "          lifecycle: {preStop: {exec: {command: [quit]}}}\n          image:"
        pod, _ = self.pod("          image:", own)
        self.assertEqual(pod["containers"][0]["lifecycle"], {"preStop": {"exec": {"command": ["quit"]}}})

    def test_processes_of_the_whole_pod(self) -> None:
        """Where these share their numbers, the sidecar's process is not the first one."""
        pod, _ = self.pod(
            "    spec:\n      securityContext:", "    spec:\n      shareProcessNamespace: true\n      securityContext:"
        )
        (sidecar,) = pod["initContainers"]
        self.assertNotIn("lifecycle", sidecar)

    def test_it_leaves(self) -> None:
        """The program of the hook, with this process as the first one."""
        (sidecar,) = containers(injected("deployment").text, "rtunnel")
        *_, program = sidecar["lifecycle"]["preStop"]["exec"]["command"]
        told: list[tuple[int, int]] = []
        self.patch(os, "kill", lambda *arguments: told.append(arguments))
        exec(program, {})
        self.assertEqual(told, [(1, signal.SIGTERM)])

    def test_the_application_ends_first(self) -> None:
        """So that what is open at its SIGTERM, a WebSocket for instance, is ended by it."""
        text = injected("deployment").text
        (sidecar,), (app,) = containers(text, "rtunnel"), containers(text, "app")
        (drain,) = (word.partition("=")[2] for word in sidecar["args"] if word.startswith("--drain="))
        self.assertLess(app["lifecycle"]["preStop"]["sleep"]["seconds"], int(drain.removesuffix("s")))


class AliasTests(SynchronousTestCase):
    """What an alias repeats stands elsewhere in the text, and what is added is added where the alias stands."""

    def test_last_in_a_map(self) -> None:
        text = source("deployment")
        labels = "      labels:\n        app: shop\n"
        repeated = text.replace(labels, "      labels: *labels\n").replace(
            "    matchLabels:\n      app: shop", "    matchLabels: &labels\n      app: shop"
        )
        self.assertIn("*labels", repeated)
        outcome = injected("deployment", repeated)
        self.assertEqual(list(documents(outcome.text)), list(documents(injected("deployment").text)))
        self.assertEqual(uninject(outcome.text).text, repeated)

    def test_what_others_have_as_well(self) -> None:
        """It is not changed for them; the line says what to do."""
        text = (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: &name\n  name: shop\n  labels: {app: shop}\n"
            "spec:\n  template:\n    metadata: *name\n    spec:\n      containers:\n      - name: app\n        ports:\n"
            "        - containerPort: 80\n"
        )
        with self.assertRaisesRegex(InjectError, r"^line 8: \*name would have to be changed here alone; write it out$"):
            inject(text, Wanted(host=HOST, image="rtunnel:1", workload="deployment/shop", port="80"))


class SecretTests(SynchronousTestCase):
    """A second host of a namespace that has a server."""

    def test_as_the_cluster_has_it(self) -> None:
        text = injected("second").text
        (secret,) = (one for one in documents(text) if one["kind"] == "Secret")
        self.assertEqual(set(secret["data"]), {"routes", "shop.example.org", "api.example.org"})
        self.assertEqual(sum(one["kind"] == "Deployment" and one["metadata"]["name"] == "proxy" for one in documents(text)), 1)

    def test_somebody_elses(self) -> None:
        text = source("second").replace("app.kubernetes.io/part-of: rtunnel\n    name: rtunnel", "x: y\n    name: rtunnel")
        self.assertNotEqual(text, source("second"))
        lines = [str(report) for report in injected("second", text).reports]
        self.assertIn('secret/rtunnel: skipped: is not rtunnel\'s: it has no label "app.kubernetes.io/part-of: rtunnel"', lines)


# -- any formatting

names = st.sampled_from(["app", "web-1", "on", "1e3", "x" * 60])
texts = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12)


@st.composite
def manifests(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A Deployment with its Service and Ingress, with whatever else may be in there."""
    name = draw(names)
    pod: dict[str, Any] = {"containers": [{"name": name, "image": draw(texts), "ports": [{"containerPort": 80}]}]}
    if draw(st.booleans()):
        # shared, so that the text may have an anchor and an alias
        reference = {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}
        values = [{"name": f"V{index}", "value": text} for index, text in enumerate(draw(st.lists(texts, max_size=3)))]
        pod["containers"][0]["env"] = [*values, {"name": "X", "valueFrom": reference}, {"name": "Y", "valueFrom": reference}]
        pod["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
    if draw(st.booleans()):
        pod["containers"].append({"name": "other", "image": "x", "env": [{"name": "A", "value": draw(texts)}]})
    more = {
        "initContainers": [{"name": "first", "image": "x"}],
        "volumes": [{"name": "v", "configMap": {"name": "v"}}],
        "automountServiceAccountToken": False,
        "zone": draw(texts),
    }
    pod |= {key: value for key, value in more.items() if draw(st.booleans())}
    template: dict[str, Any] = {"metadata": {"labels": {"app": name}}, "spec": pod}
    if draw(st.booleans()):
        template["metadata"]["annotations"] = {"note": draw(texts)}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "annotations": {"long": draw(texts) + "\n" + draw(texts)}},
        "spec": {"template": template, "paused": draw(st.booleans())},
    }
    service = {
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 80}]},
    }
    path = {"path": draw(texts), "backend": {"service": {"name": name, "port": {"number": 80}}}}
    ingress = {"kind": "Ingress", "metadata": {"name": name}, "spec": {"rules": [{"host": HOST, "http": {"paths": [path]}}]}}
    return draw(st.permutations([deployment, service, ingress]))


class AnyFormattingTests(SynchronousTestCase):
    @given(manifests(), st.data())
    def test_there_and_back(self, resources: list[dict[str, Any]], data: st.DataObject) -> None:
        flow = data.draw(st.sampled_from([False, None, True]), "flow style")
        if data.draw(st.booleans(), "JSON"):
            text = json.dumps({"kind": "List", "items": resources}, indent=data.draw(st.sampled_from([None, 2, 4])))
        else:
            text = yaml.safe_dump_all(
                resources,
                default_flow_style=flow,
                sort_keys=data.draw(st.booleans(), "sorted"),
                indent=data.draw(st.sampled_from([2, 4]), "indent"),
                width=data.draw(st.sampled_from([20, 1000]), "width"),
                allow_unicode=data.draw(st.booleans(), "unicode"),
                explicit_start=data.draw(st.booleans(), "start"),
            )
        before = list(documents(text))
        context = Context(env=data.draw(st.booleans(), "env"), files=data.draw(st.booleans(), "files"))
        wanted = Wanted(host=HOST, image="rtunnel:1", native=data.draw(st.booleans(), "native"), context=context)
        there = inject(text, wanted, lambda: TUNNEL)
        (sidecar,) = containers(there.text, "rtunnel")
        self.assertIn("--target=:80", sidecar["args"])
        # as it was meant: PyYAML reads a character whose halves JSON escapes as two
        (meant,) = (one["spec"]["template"]["spec"]["containers"][0] for one in resources if one["kind"] == "Deployment")
        writers = list(containers(there.text, "rtunnel-env"))
        self.assertEqual([one["env"] for one in writers], [meant["env"]] if context.env and "env" in meant else [])
        again = inject(there.text, wanted, lambda: TUNNEL)
        self.assertEqual(again.text, there.text)
        back = uninject(there.text)
        self.assertEqual(list(documents(back.text)), before)
        if not text.startswith("{"):
            self.assertEqual(back.text, text if text.endswith("\n") else text + "\n")
