"""``rtunnel inject`` and ``rtunnel uninject`` as users run them, and what they write, running."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests.inject.test_injection import FOLDER, HOST, containers, documents
from tests.support.processes import Process, free_port, listening, rtunnel, wait_until
from tests.support.services import NamedService


def run(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "rtunnel", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)


class CommandTests(SynchronousTestCase):
    def test_pipe(self) -> None:
        """As in ``kubectl get ... | rtunnel inject - ... | rtunnel uninject -``."""
        source = (FOLDER / "list.yaml").read_text(encoding="utf-8")
        done = run("inject", "-", "--host", HOST.upper(), text=source)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("daemonset/web: injected", done.stderr)
        self.assertEqual(len(list(containers(done.stdout, "rtunnel"))), 1)
        back = run("uninject", "-", text=done.stdout)
        self.assertEqual((back.returncode, back.stdout), (0, source))

    def test_nothing_to_do(self) -> None:
        path = str(FOLDER / "deployment.yaml")
        done = run("inject", path, "--host", "nobody.example.org")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("rtunnel inject: nothing to inject for nobody.example.org", done.stderr)
        done = run("uninject", path)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", "rtunnel uninject: nothing here was injected\n"))

    def test_wrong_arguments(self) -> None:
        self.assertIn("required: --host", run("inject", "-", text="").stderr)
        self.assertIn("--tunnel: not a UUID", run("inject", "-", "--host", HOST, "--tunnel", "x", text="").stderr)
        self.assertIn("cannot be read: No such file", run("inject", "/nowhere.yaml", "--host", HOST).stderr)


class RunningTests(SynchronousTestCase):
    """The server and the sidecar start with the arguments, variables and files that the manifests give them."""

    def start(self, container: Any, ports: dict[str, str], variables: dict[str, str]) -> Process:
        arguments = [argument for argument in container["args"] if not argument.startswith("--admin")]
        for before, after in ports.items():
            arguments = [argument.replace(before, after) for argument in arguments]
        process = rtunnel(*arguments, env=variables)
        self.addCleanup(process.stop)
        return process

    def test_a_request_reaches_the_application(self) -> None:
        text = (FOLDER / "deployment.injected.yaml").read_text(encoding="utf-8")
        (secret,) = (one for one in documents(text) if one["kind"] == "Secret")
        routes = Path(self.mktemp()).absolute()
        routes.write_text(secret["stringData"]["routes"], encoding="utf-8")
        service = NamedService("the shop")
        self.addCleanup(service.stop)
        tunnel, entrypoint = free_port(), free_port()
        (server,) = containers(text, "server")
        ports = {":8421": f"127.0.0.1:{tunnel}", ":8080": f"127.0.0.1:{entrypoint}", "/etc/rtunnel/routes": str(routes)}
        self.start(server, ports, {})
        wait_until(lambda: listening(entrypoint), "the entrypoint listens")
        (sidecar,) = containers(text, "rtunnel")
        (key,) = (one["valueFrom"]["secretKeyRef"]["key"] for one in sidecar["env"] if one["name"] == "RTUNNEL_TUNNEL")
        ports = {"proxy-servers:8421": f"127.0.0.1:{tunnel}", ":3000": f"127.0.0.1:{service.port}", "$(POD_NAME)": "shop-7d9"}
        client = self.start(sidecar, ports, {"RTUNNEL_TUNNEL": secret["stringData"][key]})
        client.wait_for("joined")
        request = Request(f"http://127.0.0.1:{entrypoint}/", headers={"Host": HOST})
        with urlopen(request, timeout=20) as response:
            self.assertEqual(response.read(), b"the shop")
