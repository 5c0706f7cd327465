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


class HelloTests(SynchronousTestCase):
    def test_it_says_its_name(self) -> None:
        server = runpy.run_path(str(FOLDER / "hello.py"))["make_server"]("laptop", 0)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/x", timeout=10) as answer:
                self.assertEqual(answer.read(), b"laptop: /x for somebody\n")
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
