"""The commands of docs/quickstart.md, as they are there: from an empty namespace to a breakpoint on a laptop.

The laptop is a user without any right, for whom the host has the Ingress' address, and who trusts its CA. What the page leaves open
is said here: the registry is the cluster's own store of images, and what is installed is this source.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster import ingress
from tests.cluster.certificates import make_authority, make_certificate
from tests.cluster.images import APP
from tests.cluster.node import INGRESS, KUBECONFIG, kubectl
from tests.cluster.programs import BIN
from tests.cluster.shell import ROOT, ClusterError, inside, run, wait_until
from tests.cluster.using import RESTRICTED, demand, named, orders_database, rolled_out, temporary_namespace, workload
from tests.support.nobody import as_nobody
from tests.support.processes import needed

__all__ = ["quickstart"]

_PAGE: Final = ROOT / "docs" / "quickstart.md"
_HOST: Final = "shop.example.org"
_NAMESPACE: Final = "shop"
_LIMIT: Final = 300.0
"""Seconds that it may take."""


def quickstart() -> str:
    """From an empty namespace to a breakpoint on the laptop: two commands in the cluster, two on the laptop."""
    in_cluster, (make_id, invite, *_), (_, login, dev) = map(_commands, ("In the cluster", "An invitation", "On the laptop"))
    with temporary_namespace(_NAMESPACE) as namespace, tempfile.TemporaryDirectory(prefix="rtunnel-quickstart-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        began = time.monotonic()
        _start_application(namespace, folder)
        started = time.monotonic()
        _run_in_cluster(folder, *in_cluster)
        ingress.reload()
        invitation = _run_in_cluster(folder, make_id, invite)
        injected = time.monotonic()
        laptop = _Laptop(folder)
        installed = time.monotonic()
        laptop.run(login, invitation)
        with laptop.start(dev) as (process, output):
            answer = _stop_and_continue(folder, process, output)
            stopped = time.monotonic()
        demand(answer.endswith(": 2 orders\n"), f"the laptop answered {answer!r}")
    seconds = stopped - began
    demand(seconds < _LIMIT, f"it took {seconds:.0f} s")
    return (
        f"{seconds:.0f} s to a breakpoint: the application without rtunnel {started - began:.0f}, two commands in the cluster and "
        f"an invitation {injected - started:.0f}, installing {installed - injected:.0f}, two commands on the laptop "
        f"{stopped - installed:.0f}"
    )


def _commands(section: str) -> list[str]:
    """The commands in a section of the page."""
    (text,) = re.findall(rf"(?ms)^## {section}.*?$(.*?)(?=^## )", _PAGE.read_text(encoding="utf-8"))
    return re.findall(r"(?m)^    (.+)$", text)


# -- in the cluster


def _start_application(namespace: str, folder: Path) -> None:
    """The service as it is without rtunnel, with its database, behind an Ingress with TLS."""
    make_authority(folder)
    make_certificate(folder, "shop", [f"DNS:{_HOST}"])
    files = (f"--cert={folder}/shop.pem", f"--key={folder}/shop.key")
    kubectl("create", "secret", "tls", "shop-tls", "--namespace", namespace, *files)
    kubectl("apply", "--namespace", namespace, "--filename", "-", text=_application())
    rolled_out(namespace, "deployment/postgres", "deployment/shop")


def _application() -> str:
    variables = {"GREETING": "Hello", "DATABASE_URL": "postgres://postgres@postgres:5432/postgres"}
    app = {
        "name": "app",
        "image": APP,
        "ports": [{"containerPort": 8080}],
        "securityContext": RESTRICTED,
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "volumeMounts": [{"name": "settings", "mountPath": "/etc/shop"}],
    }
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "shop", "port": {"number": 80}}}}
    spec = {"tls": [{"hosts": [_HOST], "secretName": "shop-tls"}], "rules": [{"host": _HOST, "http": {"paths": [path]}}]}
    documents: list[dict[str, Any]] = [
        *workload("postgres", orders_database(), 5432),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named("settings"), "data": {"settings.yaml": "colour: red\n"}},
        *workload("shop", app, 80, [{"name": "settings", "configMap": {"name": "settings"}}]),
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": named("shop"), "spec": spec},
    ]
    return yaml.safe_dump_all(documents)


def _run_in_cluster(folder: Path, *lines: str) -> str:
    """Run lines of the page in one shell; what they print to standard output."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    _program(programs / "kubectl", *inside(str(BIN / "kubectl"), f"--kubeconfig={KUBECONFIG}"))
    _program(programs / "rtunnel", sys.executable, "-m", "rtunnel")
    script = "\n".join(("set -e -o pipefail", f"PATH={programs}:$PATH", *lines)).replace("REGISTRY/", "")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=_LIMIT)
    demand(not done.returncode, f"{lines[-1]}\n{done.stdout}{done.stderr}")
    return done.stdout


def _program(path: Path, *command: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
    path.chmod(0o755)


# -- on the laptop


class _Laptop:
    """The laptop, with rtunnel installed, and the application beside it.

    :param folder: with the CA.
    """

    def __init__(self, folder: Path) -> None:
        self._home = folder / "home"
        self._hosts = folder / "hosts"
        self._hosts.write_text(f"127.0.0.1 localhost\n{INGRESS} {_HOST}\n", encoding="utf-8")
        shutil.copytree(ROOT / "examples", self._home / "examples")
        application = self._home / "examples" / "orders.py"
        text = application.read_text(encoding="utf-8")
        application.write_text(text.replace("        query =", "        breakpoint()\n        query =", 1), encoding="utf-8")
        # as pipx does it, with the Python of Debian
        programs = self._home / ".local"
        run("/usr/bin/python3", "-m", "venv", str(programs / "venv"))
        run(str(programs / "venv" / "bin" / "pip"), "install", "--quiet", str(ROOT))
        (programs / "bin").mkdir()
        (programs / "bin" / "rtunnel").symlink_to(programs / "venv" / "bin" / "rtunnel")
        nobody = pwd.getpwnam("nobody")
        for path in (self._home, *self._home.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
        self._own = {
            "HOME": str(self._home),
            "USER": "alice",
            "PATH": f"{programs}/bin:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "SSL_CERT_FILE": str(folder / "ca.pem"),
        }

    def _command(self, line: str) -> list[str]:
        mount = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
        variables = (f"{name}={value}" for name, value in self._own.items())
        seeing_hosts = (needed("unshare"), "--mount", "--propagation", "private", "sh", "-c", mount, "sh", str(self._hosts))
        return [*seeing_hosts, needed("env"), "-i", *variables, *as_nobody(), *shlex.split(line)]

    def run(self, line: str, text: str) -> None:
        """Run a command of the page to its end."""
        command = self._command(line)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=self._home, timeout=60)
        demand(not done.returncode, f"{line}\n{done.stdout}{done.stderr}")

    @contextmanager
    def start(self, line: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
        """Start one that goes on; with the file of its output."""
        output = self._home / "output"
        with open(output, "wb") as file:
            process = subprocess.Popen(
                self._command(line), stdin=subprocess.PIPE, stdout=file, stderr=file, text=True, cwd=self._home
            )
        try:
            yield process, output
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _stop_and_continue(folder: Path, process: subprocess.Popen[str], output: Path) -> str:
    """A visitor with Alice's session stops at the breakpoint, and others do not; it continues, and this is the answer."""
    wait_until(lambda: "rtunnel-session=alice" in output.read_text(), "the laptop has joined")
    curl = ("curl", "--silent", "--show-error", "--max-time", "120", "--cacert", str(folder / "ca.pem"))
    request = (*curl, "--resolve", f"{_HOST}:443:{INGRESS}", f"https://{_HOST}/")
    with subprocess.Popen((*request, "--cookie", "rtunnel-session=alice"), stdout=subprocess.PIPE, text=True) as visitor:
        try:
            wait_until(lambda: "(Pdb)" in output.read_text(), "the request stops at the breakpoint")
            demand(run(*request).startswith("pod"), "the pod does not serve all others")
            assert process.stdin is not None
            process.stdin.write("continue\n")
            process.stdin.flush()
            answer, _ = visitor.communicate(timeout=60)
        except ClusterError as error:
            visitor.kill()
            raise ClusterError(f"{error}\n{output.read_text()}") from None
    return answer
