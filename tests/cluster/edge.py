"""What the Ingress does to links and visitors: TLS, the cut of what is idle, and which hop fails when a part is gone."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from rtunnel.auth.passwords import hash_password
from rtunnel.inject.injection import Wanted, inject
from rtunnel.inject.server_manifests import PERMISSIONS, ROUTES, Access, User
from tests.cluster import ingress
from tests.cluster.certificates import make_authority, make_certificate
from tests.cluster.images import OURS
from tests.cluster.node import INGRESS, kubectl
from tests.cluster.shell import ClusterError, run, wait_until
from tests.cluster.using import ask, demand, example_services, joined_laptop, rolled_out, temporary_namespace, tunnel_of
from tests.support.processes import rtunnel
from tests.support.services import NamedService

__all__ = ["hops", "idle", "tls"]

_HOST: Final = "web.example.org"
_CUT: Final = 60.0
"""Seconds after which the Ingress cuts a connection on which nothing comes, unless it is told otherwise."""


def _inject(namespace: str, **more: Any) -> str:
    """A service, injected; returns the ID of its tunnel."""
    kubectl("apply", "--namespace", namespace, "--filename", "-", text=example_services()["web"])
    # what was read is not applied over what has changed since
    rolled_out(namespace, "deployment/web")
    everything = kubectl("get", "deployment,service,ingress", "--namespace", namespace, "--output", "yaml")
    outcome = inject(everything, Wanted(host=_HOST, image=OURS, **more))
    kubectl("apply", "--namespace", namespace, "--filename", "-", text=outcome.text)
    rolled_out(namespace, "deployment/proxy", "deployment/web")
    wait_until(lambda: ask(_HOST).startswith("pod"), "the service is served through the server")
    return tunnel_of(namespace, _HOST)


# -- TLS


def tls() -> str:
    """An Ingress with TLS: visitors come and a laptop joins over it, and what comes without is sent there."""
    with temporary_namespace("tls") as namespace, TemporaryDirectory(prefix="rtunnel-tls-") as folder:
        tunnel = _inject(namespace)
        authority = _give_certificate(namespace, Path(folder))
        wait_until(lambda: ask(_HOST) == "308", "what comes without TLS is redirected")
        curl = ("curl", "--silent", "--show-error", "--cacert", authority, "--resolve", f"{_HOST}:443:{INGRESS}")
        url = f"https://{_HOST}/"
        demand(run(*curl, url).startswith("pod"), "the pod does not serve over TLS")
        service = NamedService("laptop")
        # the Ingress is not known to DNS here, so the name is said twice
        server = ("--server", f"wss://{INGRESS}/proxy", "--host-header", _HOST, "--tls-server-name", _HOST, "--ca-file", authority)
        try:
            more = ("--tunnel", tunnel, "--weight", "255", "--target", f"127.0.0.1:{service.port}")
            with rtunnel("client", *server, *more) as client:
                wait_until(lambda: "joined" in client.output, "the laptop has joined")
                for version in ("--http1.1", "--http2"):
                    demand(run(*curl, version, url) == "laptop", f"the laptop does not get requests of {version}")
            with rtunnel("client", *server[:-2], *more) as client:
                wait_until(lambda: "certificate" in client.output, "the laptop refuses the certificate of an unknown CA")
        finally:
            service.stop()
    return "visitors over HTTP/1.1 and HTTP/2, a laptop over wss; an unknown CA is refused, HTTP is redirected"


def _give_certificate(namespace: str, folder: Path) -> str:
    """Have the Ingress speak TLS; returns the file of the CA."""
    make_authority(folder)
    make_certificate(folder, "web", [f"DNS:{_HOST}"])
    files = (f"--cert={folder}/web.pem", f"--key={folder}/web.key")
    kubectl("create", "secret", "tls", "web-tls", "--namespace", namespace, *files)
    patch = json.dumps({"spec": {"tls": [{"hosts": [_HOST], "secretName": "web-tls"}]}})
    kubectl("patch", "ingress", "web", "--namespace", namespace, "--type", "merge", "--patch", patch)
    ingress.reload()
    return str(folder / "ca.pem")


# -- the cut


def idle() -> str:
    """An Ingress that cuts what is idle for a minute: it cuts a visitor's, and the link of a laptop stays."""
    with temporary_namespace("idle") as namespace:
        tunnel = _inject(namespace)
        with joined_laptop(_HOST, tunnel, "--weight", "255") as client:
            seconds = _until_cut()
            demand(ask(_HOST) == "laptop", "the laptop does not serve any longer")
            log = client.output
        joins = log.count("joined tunnel")
        demand(_CUT - 1 <= seconds <= _CUT + 30, f"the Ingress cut a visitor's connection after {seconds:.0f} s")
        demand(joins == 1, f"the laptop joined {joins} times:\n{log}")
    return f"a visitor's WebSocket was cut after {seconds:.0f} s, a laptop's link, as idle, was not"


def _until_cut() -> float:
    """How long an upgraded connection lives on which nothing is said."""
    with socket.create_connection((INGRESS, ingress.LISTEN), 20) as visitor:
        visitor.sendall(f"GET / HTTP/1.1\r\nHost: {_HOST}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n".encode())
        demand(visitor.recv(65536).startswith(b"HTTP/1.1 101"), "the laptop does not switch protocols")
        began = time.monotonic()
        visitor.settimeout(_CUT * 2)
        try:
            while visitor.recv(65536):
                pass
        except TimeoutError:
            raise ClusterError(f"the Ingress did not cut an idle connection within {_CUT * 2:.0f} s") from None
    return time.monotonic() - began


# -- hops


def hops() -> str:
    """``rtunnel status HOST --check`` names the hop, with one part after another gone."""
    found = []
    with temporary_namespace("hops") as namespace:
        password = secrets.token_urlsafe(24)
        sidecars = User("sidecars", password, hash_password(password).text)
        _inject(namespace, access=Access(sidecars, ()))

        def expect(hop: str, what: str, host: str = _HOST, *, ok: bool = False) -> None:
            try:
                wait_until(lambda: _last_hop(host) == (hop, ok), what)
            except ClusterError:
                raise ClusterError(f"{what}: the hop was {_last_hop(host)}") from None
            found.append(f"{what}: {hop}")

        def scale(name: str, replicas: int) -> None:
            kubectl("scale", f"deployment/{name}", "--namespace", namespace, f"--replicas={replicas}")

        demand(_last_hop(_HOST) == ("target", True), f"with all parts there, the hops end at {_last_hop(_HOST)}")
        expect("answer", "a host that the Ingress does not know", "other.example.org")
        # nobody may bind: who has no line in the permissions may nothing
        _permit(namespace, f"visit {sidecars.name} *")
        expect("client", "a sidecar that may not join")
        _permit(namespace, f"bind {sidecars.name} *")
        expect("target", "one that may again", ok=True)
        kubectl("set", "image", "deployment/web", "--namespace", namespace, "app=localhost/pause:1")
        expect("target", "an application that does not listen")
        scale("web", 0)
        expect("client", "no sidecar")
        _without_rules(namespace)
        expect("rule", "no rule")
        scale("proxy", 0)
        expect("answer", "no server")
    return "; ".join(found)


def _permit(namespace: str, line: str) -> None:
    """Change the only line of the server's permissions, whose file follows."""
    _set_key(namespace, PERMISSIONS, line)


def _without_rules(namespace: str) -> None:
    """Start the server anew with a rule for another host."""
    _set_key(namespace, ROUTES, "other.example.org=10bc451e-59dc-4c70-999e-91a30813ac78")
    kubectl("rollout", "restart", "deployment/proxy", "--namespace", namespace)
    rolled_out(namespace, "deployment/proxy")


def _set_key(namespace: str, key: str, line: str) -> None:
    """Change a key of rtunnel's Secret."""
    patch = json.dumps({"stringData": {key: f"{line}\n"}})
    kubectl("patch", "secret", "rtunnel", "--namespace", namespace, "--patch", patch)


def _last_hop(host: str) -> tuple[str, bool]:
    """The hop at which the command ends, and whether it is as it should be."""
    url = f"http://{INGRESS}/"
    command = [sys.executable, "-m", "rtunnel", "status", url, "--check", "--json", "--header", f"Host: {host}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    last = json.loads(done.stdout)[-1]
    return last["hop"], last["ok"]
