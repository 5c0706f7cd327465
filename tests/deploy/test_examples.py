"""The examples do what they say."""

from __future__ import annotations

import runpy
import threading
import urllib.request
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
from kubernetes_validate.utils import latest_version, resources_from_file
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.options.table import SERVER, find
from rtunnel.roles import SERVER_ROLE
from tests.deploy.test_kubernetes import container, pod, resource

FOLDER = Path(__file__).parent.parent.parent / "examples"


class SidecarTests(SynchronousTestCase):
    def sidecar(self) -> Any:
        (patch,) = resources_from_file(str(FOLDER / "sidecar.yaml"))
        (sidecar,) = patch["spec"]["template"]["spec"]["containers"]
        return sidecar

    def test_it_is_the_one_of_the_manifests(self) -> None:
        """But for the target; and what the pod says there, it has to say itself."""
        ours, theirs = self.sidecar(), deepcopy(container("nginx", "client"))
        theirs["args"] = ["--target=:3000" if word.startswith("--target") else word for word in theirs["args"]]
        theirs["securityContext"] |= pod("nginx")["securityContext"]
        self.assertEqual(ours, theirs)

    def test_a_patched_deployment_is_valid(self) -> None:
        deployment = deepcopy(resource("Deployment", "nginx"))
        containers = deployment["spec"]["template"]["spec"]["containers"]
        containers[:] = [containers[0], self.sidecar()]
        kubernetes_validate.validate(deployment, latest_version(), strict=True)


class ConfigMapTests(SynchronousTestCase):
    def setUp(self) -> None:
        (self.map,) = resources_from_file(str(FOLDER / "server-configmap.yaml"))
        (self.patch_file,) = resources_from_file(str(FOLDER / "server-configmap-patch.yaml"))

    def test_it_holds_a_good_file(self) -> None:
        ((name, text),) = self.map["data"].items()
        path = Path(self.mktemp())
        path.write_text(text, encoding="utf-8")
        settings = SERVER_ROLE.load([(find(SERVER, "config"), "-c", str(path))], {}).settings
        self.assertEqual((name, len(settings.listeners)), ("server.yaml", 1))
        # the ports that the Deployment and its probes name
        named = {port["name"]: port["containerPort"] for port in container("proxy", "server")["ports"]}
        (listener,) = settings.listeners
        assert settings.admin is not None and listener.listen is not None
        self.assertEqual(listener.listen.port, named["tunnel"])
        self.assertEqual([entrypoint.port for entrypoint in listener.entrypoints], [named["entrypoint"]])
        self.assertEqual(settings.admin.port, named["admin"])

    def test_a_patched_deployment_is_valid(self) -> None:
        kubernetes_validate.validate(self.map, latest_version(), strict=True)
        deployment = deepcopy(resource("Deployment", "proxy"))
        spec, patch = deployment["spec"]["template"]["spec"], self.patch_file["spec"]["template"]["spec"]
        (ours,), (theirs,) = patch["containers"], spec["containers"]
        self.assertEqual(ours["name"], theirs["name"])
        theirs |= ours
        spec["volumes"] = patch["volumes"]
        kubernetes_validate.validate(deployment, latest_version(), strict=True)
        self.assertEqual(patch["volumes"][0]["configMap"]["name"], self.map["metadata"]["name"])
        self.assertIn(f"--config={ours['volumeMounts'][0]['mountPath']}/server.yaml", ours["args"])


class HelloTests(SynchronousTestCase):
    def test_it_says_its_name(self) -> None:
        server = runpy.run_path(str(FOLDER / "hello.py"))["make_server"]("laptop", 0)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/x", timeout=10) as answer:
                self.assertEqual(answer.read(), b"laptop: /x for an unknown visitor\n")
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
