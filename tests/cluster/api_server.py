"""The API server of Kubernetes alone, with its etcd, as a user without privileges: it says what it would accept.

Nothing else of Kubernetes is there, so nothing runs: manifests and pods are checked as they are when they are applied, by
validation with every field known, and by Pod Security.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from tests.cluster.certificates import make_certificates
from tests.cluster.programs import BIN
from tests.cluster.shell import ClusterError, wait_until
from tests.support.processes import free_port

__all__ = ["Api", "Verdict", "api_server"]

_TOKEN: Final = "a-token-of-the-administrator"


class Verdict:
    """What the API server says of a resource.

    :ivar refusal: why it does not accept it; empty if it does.
    :ivar warnings: what it says besides.
    """

    def __init__(self, refusal: str, warnings: tuple[str, ...]) -> None:
        self.refusal = refusal
        self.warnings = warnings


class Api:
    """Requests of an API server.

    :param url: where it is.
    :param token: of somebody who may do everything.
    :param authority: the file with the CA of its certificate.
    """

    def __init__(self, url: str, token: str, authority: Path) -> None:
        self._url = url
        self._token = token
        self._context = ssl.create_default_context(cafile=str(authority))
        self._plurals: dict[str, dict[str, str]] = {}

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return self._send("GET", "/readyz")[0] == 200
        except (OSError, URLError):
            return False

    def create(self, resource: Any, namespace: str = "") -> None:
        """Create a resource.

        :raises ClusterError: it is refused.
        """
        verdict = self._post(resource, namespace, "")
        if verdict.refusal:
            raise ClusterError(verdict.refusal)

    def define(self, definition: Any) -> None:
        """Have it know a kind of resources, by a ``CustomResourceDefinition``.

        :raises ClusterError: it is refused, or has no effect.
        """
        self.create(definition)
        group, kind = definition["spec"]["group"], definition["spec"]["names"]["kind"]
        versions = [f"{group}/{one['name']}" for one in definition["spec"]["versions"] if one["served"]]

        def serves_all() -> bool:
            self._plurals.clear()
            return all(self.serves({"apiVersion": version, "kind": kind}) for version in versions)

        wait_until(serves_all, f"the API server knows {kind} of {group}", patience=60)

    def dry_run(self, resource: Any, namespace: str) -> Verdict:
        """What would happen if a resource were created; unknown fields are refused."""
        return self._post(resource, namespace, "?dryRun=All&fieldValidation=Strict")

    def serves(self, resource: Any) -> bool:
        """Whether it knows resources of that kind."""
        return resource["kind"] in self._kinds(resource["apiVersion"])

    def _post(self, resource: Any, namespace: str, query: str) -> Verdict:
        version = resource["apiVersion"]
        where = f"/namespaces/{namespace}" if namespace else ""
        path = f"{_prefix(version)}{where}/{self._kinds(version)[resource['kind']]}{query}"
        status, body, warnings = self._send("POST", path, resource)
        if status < 300:
            return Verdict("", warnings)
        return Verdict(str(json.loads(body).get("message", body)), warnings)

    def _kinds(self, version: str) -> dict[str, str]:
        """The kinds of a version, and their names in paths."""
        if version not in self._plurals:
            status, body, _ = self._send("GET", _prefix(version))
            found = json.loads(body)["resources"] if status == 200 else []
            self._plurals[version] = {one["kind"]: one["name"] for one in found if "/" not in one["name"]}
        return self._plurals[version]

    def _send(self, method: str, path: str, body: Any = None) -> tuple[int, str, tuple[str, ...]]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = Request(self._url + quote(path, safe="/?=&"), data, headers, method=method)
        try:
            with urlopen(request, timeout=60, context=self._context) as response:
                return response.status, response.read().decode(), tuple(response.headers.get_all("Warning") or ())
        except HTTPError as error:
            return error.code, error.read().decode(), tuple(error.headers.get_all("Warning") or ())


def _prefix(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


@contextmanager
def api_server() -> Iterator[Api]:
    """Start one for a while, on ports and in a folder of its own.

    :raises ClusterError: it does not start.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rtunnel-api-")))
        pki = folder / "pki"
        make_certificates(pki, ["127.0.0.1"])
        (folder / "tokens.csv").write_text(f"{_TOKEN},admin,admin,system:masters\n", encoding="utf-8")
        clients, peers, port = free_port(), free_port(), free_port()
        etcd = (
            *("etcd", "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"),
            *("--listen-client-urls", f"http://127.0.0.1:{clients}", "--advertise-client-urls", f"http://127.0.0.1:{clients}"),
            *("--listen-peer-urls", f"http://127.0.0.1:{peers}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peers}"),
            *("--initial-cluster", f"default=http://127.0.0.1:{peers}"),
        )
        server = (
            *(str(BIN / "kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{clients}", f"--secure-port={port}"),
            # the address that it tells others must not be loopback; nobody asks for it here
            *("--bind-address=127.0.0.1", "--advertise-address=192.0.2.1", "--service-cluster-ip-range=10.96.0.0/16"),
            *(f"--tls-cert-file={pki}/server.pem", f"--tls-private-key-file={pki}/server.key"),
            *(f"--token-auth-file={folder}/tokens.csv", "--authorization-mode=RBAC", "--endpoint-reconciler-type=none"),
            *("--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={pki}/accounts.pub"),
            f"--service-account-signing-key-file={pki}/accounts.key",
        )
        for name, command in (("etcd", etcd), ("kube-apiserver", server)):
            stack.callback(_end, _start(command, folder / f"{name}.log"))
        api = Api(f"https://127.0.0.1:{port}", _TOKEN, pki / "ca.pem")
        try:
            wait_until(api.ready, "the API server answers", patience=180)
        except ClusterError:
            log = (folder / "kube-apiserver.log").read_text(encoding="utf-8", errors="replace")
            raise ClusterError(f"the API server does not answer:\n{log[-3000:]}") from None
        yield api


def _start(command: tuple[str, ...], log: Path) -> subprocess.Popen[bytes]:
    with open(log, "wb") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
