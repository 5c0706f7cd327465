"""The keys and certificates of the cluster, made anew for each."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.shell import run

__all__ = ["make_certificates"]


def make_certificates(folder: Path, addresses: list[str]) -> None:
    """A CA (``ca.pem``), the API server's certificate (``server.pem``, ``server.key``) and the service accounts' key.

    :param addresses: of the API server.
    """
    folder.mkdir(parents=True, exist_ok=True)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30")
    ca = (str(folder / "ca.pem"), str(folder / "ca.key"))
    run("openssl", "req", "-x509", *curve, "-subj", "/CN=cluster CA", "-keyout", ca[1], "-out", ca[0])
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"]
    alternatives = ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])
    run(
        *("openssl", "req", "-x509", "-CA", ca[0], "-CAkey", ca[1], *curve, "-subj", "/CN=kube-apiserver"),
        *("-addext", f"subjectAltName={alternatives}", "-addext", "basicConstraints=critical,CA:FALSE"),
        *("-keyout", str(folder / "server.key"), "-out", str(folder / "server.pem")),
    )
    run("openssl", "genrsa", "-out", str(folder / "accounts.key"), "2048")
    run("openssl", "rsa", "-in", str(folder / "accounts.key"), "-pubout", "-out", str(folder / "accounts.pub"))
