"""``rtunnel inject`` and ``rtunnel uninject`` as users run them, and what they write, running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests.inject.test_injection import FOLDER, HOST, TUNNEL, containers, documents
from tests.support.processes import Process, free_port, listening, rtunnel, run_rtunnel, wait_until
from tests.support.services import NamedService


def run(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return run_rtunnel(*arguments, typed=text or "")


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
        for arguments, hint in {
            (): 'name a FILE, "-" for stdin, or a folder with -k',
            ("-", "-k", "overlay"): 'name a FILE, "-" for stdin, or a folder with -k',
            ("-", "--context", "env,secrets"): '"env,secrets" is not env, files or env,files',
            ("-", "--reach", "postgres"): '--reach: "postgres" has no port',
            ("-", "--env-allow-secret", "DB_*"): "add --context env",
            ("-", "--user", "pod"): '"pod" is no name of a user',
            ("-", "--patch", "--apply"): "--patch and --apply exclude each other",
            ("-", "--resources", "x.yaml"): "--resources is for --patch",
        }.items():
            with self.subTest(arguments=arguments):
                done = run("inject", *arguments, "--host", HOST, text="")
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn(hint, done.stderr)

    def test_patch(self) -> None:
        """Patches on stdout, and what no patch can add in a file."""
        path, new = str(FOLDER / "deployment.yaml"), Path(self.mktemp()).absolute()
        done = run("inject", path, "--host", HOST, "--patch")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("name a file for its manifests with --resources", done.stderr)
        done = run("inject", path, "--host", HOST, "--patch", "--resources", str(new))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([one["kind"] for one in documents(done.stdout)], ["Deployment", "Ingress"])
        kinds = [one["kind"] for one in documents(new.read_text(encoding="utf-8"))]
        self.assertEqual(kinds, ["Secret", "Deployment", "Service", "Service", "NetworkPolicy"])
        done = run("inject", path, "--host", HOST, "--patch", "--resources", "/nowhere/at/all.yaml")
        self.assertIn("cannot be written", done.stderr)


class KubectlTests(SynchronousTestCase):
    """What calls kubectl, with a program of that name that keeps what it is given."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def kubectl(self, script: str) -> None:
        """Have a kubectl that is a shell script."""
        program = self.folder / "kubectl"
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)

    def run_with(self, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command where only that kubectl is."""
        return run_rtunnel(*arguments, env={"PATH": f"{self.folder}:/usr/bin:/bin" if path is None else path})

    def test_apply(self) -> None:
        got = self.folder / "got"
        self.kubectl(f'echo "$@" > {got}; cat >> {got}; echo applied')
        path = FOLDER / "deployment.yaml"
        done = self.run_with("inject", str(path), "--host", HOST, "--tunnel", str(TUNNEL), "--image", "rtunnel:0.1.0", "--apply")
        self.assertEqual((done.returncode, done.stdout), (0, "applied\n"), done.stderr)
        expected = (FOLDER / "deployment.injected.yaml").read_text(encoding="utf-8")
        self.assertEqual(got.read_text(encoding="utf-8"), f"apply --filename -\n{expected}")
        done = self.run_with("uninject", str(FOLDER / "deployment.injected.yaml"), "--apply")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(got.read_text(encoding="utf-8"), f"apply --filename -\n{path.read_text(encoding='utf-8')}")

    def test_apply_fails(self) -> None:
        self.kubectl("cat > /dev/null; echo forbidden >&2; exit 3")
        done = self.run_with("inject", str(FOLDER / "deployment.yaml"), "--host", HOST, "--apply")
        self.assertEqual(done.returncode, 1)
        self.assertIn("forbidden", done.stderr)

    def test_kustomize(self) -> None:
        self.kubectl(f'test "$*" = "kustomize overlay" && cat {FOLDER / "deployment.yaml"}')
        done = self.run_with("inject", "-k", "overlay", "--host", HOST, "--patch", "--resources", str(self.folder / "new.yaml"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([one["kind"] for one in documents(done.stdout)], ["Deployment", "Ingress"])
        done = self.run_with("inject", "-k", "other", "--host", HOST)
        self.assertEqual((done.returncode, done.stderr), (1, "rtunnel inject: other: kustomize failed, with status 1\n"))

    def test_no_kubectl(self) -> None:
        done = self.run_with("inject", str(FOLDER / "deployment.yaml"), "--host", HOST, "--apply", path="/nowhere")
        self.assertEqual(done.returncode, 127)
        self.assertIn("--apply runs kubectl, which is not in PATH", done.stderr)
        done = self.run_with("inject", "-k", "overlay", "--host", HOST, path="/nowhere")
        self.assertEqual(done.returncode, 127)
        self.assertIn('-k runs "kubectl kustomize" or "kustomize build"', done.stderr)


class RunningTests(SynchronousTestCase):
    """The server and the sidecar start with the arguments, variables and files that the manifests give them."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.service = NamedService("the shop")
        self.addCleanup(self.service.stop)
        self.tunnel, self.entrypoint = free_port(), free_port()

    def start(self, text: str) -> dict[str, str]:
        """Start the server and the sidecar; returns the keys of the Secret."""
        (secret,) = (one for one in documents(text) if one["kind"] == "Secret")
        keys: dict[str, str] = secret["stringData"]
        for name, value in keys.items():
            (self.folder / name).write_text(value, encoding="utf-8")
        (server,) = containers(text, "server")
        ports = {":8421": f"127.0.0.1:{self.tunnel}", ":8080": f"127.0.0.1:{self.entrypoint}", "/etc/rtunnel": str(self.folder)}
        self._start(server, ports, {})
        wait_until(lambda: listening(self.entrypoint), "the entrypoint listens")
        (sidecar,) = containers(text, "rtunnel")
        found = {one["name"]: keys.get(one["valueFrom"].get("secretKeyRef", {}).get("key")) for one in sidecar["env"]}
        variables = {name: value for name, value in found.items() if value is not None}
        changes = {
            "proxy-servers:8421": f"127.0.0.1:{self.tunnel}",
            "--target=:3000": f"--target=127.0.0.1:{self.service.port}",
            "$(POD_NAME)": "shop-7d9",
            "/rtunnel/": f"{self.folder}/",
            "=/pod/": f"={self.folder}/",
        }
        self._start(sidecar, changes, variables).wait_for("joined")
        return keys

    def _start(self, container: Any, changes: dict[str, str], variables: dict[str, str]) -> Process:
        arguments = [argument for argument in container["args"] if not argument.startswith("--admin")]
        for before, after in changes.items():
            arguments = [argument.replace(before, after) for argument in arguments]
        process = rtunnel(*arguments, env=variables)
        self.addCleanup(process.stop)
        return process

    def test_a_request_reaches_the_application(self) -> None:
        self.start((FOLDER / "deployment.injected.yaml").read_text(encoding="utf-8"))
        request = Request(f"http://127.0.0.1:{self.entrypoint}/", headers={"Host": HOST})
        with urlopen(request, timeout=20) as response:
            self.assertEqual(response.read(), b"the shop")

    def test_a_developer_gets_what_the_pod_has(self) -> None:
        """The user, the environment and the files that ``inject --user --context`` promises."""
        done = run("inject", str(FOLDER / "context.yaml"), "--host", HOST, "--user", "alice", "--context", "env,files")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.write_environment(done.stdout)
        for name in ("config", "tls", "info"):
            (self.folder / name).mkdir()
            (self.folder / name / "file").write_text(f"of {name}", encoding="utf-8")
        keys = self.start(done.stdout)
        alice = {"RTUNNEL_AUTH": keys["user.alice"]}
        listed = self.ask("env", alice, "--format", "json")
        found = json.loads(listed)
        self.assertEqual(found["DB_HOST"], "postgres")
        self.assertNotIn("DB_PASSWORD", found)
        self.assertNotIn("swordfish", listed)
        listed = self.ask("files", alice)
        for path in ("/config/file", "/etc/shop/file", "/etc/tls/file", "/podinfo/file"):
            self.assertIn(path, listed)

    def write_environment(self, text: str) -> None:
        """Do what the init container does, with what Kubernetes would make of its variables."""
        (writer,) = containers(text, "rtunnel-env")
        # the folder of these tests may be called rtunnel, too
        words = [word.replace("/rtunnel/", f"{self.folder}/") for word in writer["command"][3:]]
        command = [sys.executable, "-m", *words]
        secrets = {one["name"]: "swordfish" for one in writer["env"] if "secretKeyRef" in one.get("valueFrom", {})}
        variables = {one["name"]: one.get("value", "of another kind") for one in writer["env"]} | secrets
        variables["DB_URL"] = "postgres://swordfish:swordfish@postgres/shop"
        environment = {**variables, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        subprocess.run(command, env=environment, check=True, timeout=60)

    def ask(self, command: str, variables: dict[str, str], *more: str) -> str:
        """What a developer's command prints."""
        tunnel = (self.folder / HOST).read_text(encoding="utf-8")
        arguments = (command, HOST, "--server", f"ws://127.0.0.1:{self.tunnel}/proxy", "--tunnel", tunnel, *more)
        done = run_rtunnel(*arguments, env=variables)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout
