"""The keys and certificates of the cluster, made anew for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.cluster.shell import run

__all__ = ["make_authority", "make_certificate", "make_certificates"]

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30")


def make_certificates(folder: Path, addresses: list[str]) -> None:
    """A CA (``ca.pem``), the API server's certificate (``server.pem``, ``server.key``) and the service accounts' key.

    :param addresses: of the API server.
    """
    make_authority(folder)
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"]
    make_certificate(folder, "server", [*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)])
    run("openssl", "genrsa", "-out", str(folder / "accounts.key"), "2048")
    run("openssl", "rsa", "-in", str(folder / "accounts.key"), "-pubout", "-out", str(folder / "accounts.pub"))


def make_authority(folder: Path) -> None:
    """A CA in a folder: ``ca.pem``, ``ca.key``."""
    folder.mkdir(parents=True, exist_ok=True)
    files = ("-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.pem"))
    run("openssl", "req", "-x509", *_CURVE, "-subj", "/CN=cluster CA", *files)


def make_certificate(folder: Path, name: str, subjects: Sequence[str]) -> None:
    """A certificate of the folder's CA: ``NAME.pem``, ``NAME.key``.

    :param subjects: whom it is for, ``DNS:...`` or ``IP:...``.
    """
    run(
        *("openssl", "req", "-x509", "-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key"), *_CURVE),
        *("-subj", f"/CN={name}", "-addext", f"subjectAltName={','.join(subjects)}"),
        *("-addext", "basicConstraints=critical,CA:FALSE"),
        *("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")),
    )
