"""The image as an archive, and what it contains."""

from __future__ import annotations

import json
import platform
import shutil
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from release.archives import normalize
from release.commands import run

__all__ = ["build_image", "missing"]

_SYFT: Final = "github.com/anchore/syft/cmd/syft@v1.57.1"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def missing() -> str | None:
    """Return why no image can be made here; ``None`` if one can be."""
    if shutil.which("buildah") is None:
        return "buildah is missing (Debian, Ubuntu: apt-get install buildah)"
    if shutil.which("syft") is None and shutil.which("go") is None:
        return "syft is missing, which lists what the image contains, and so is Go, which could build it"
    return None


def build_image(tree: Path, target: Path, version: str, epoch: int, revision: str, base: str | None) -> None:
    """Build the image for this machine's architecture, as an OCI archive, and its SBOM.

    Of the same commit and base come the same bytes: all times are those of the commit.

    :param tree: a clean copy of the commit.
    :param target: where the files are written.
    :param epoch: the commit's time, in seconds since 1970.
    :param revision: the commit.
    :param base: see the Dockerfile; ``None`` for the one that it pins.
    :raises ReleaseError: a program failed.
    """
    name = f"rtunnel-{version}-linux-{_ARCHITECTURES.get(platform.machine(), platform.machine())}"
    labels = {
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": revision,
        "org.opencontainers.image.created": _iso(epoch),
    }
    arguments = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    if base is not None:
        arguments += ["--build-arg", f"BASE={base}"]
    tag = f"rtunnel:{version}"
    run("buildah", "build", "--timestamp", str(epoch), "--network", "host", *arguments, "--tag", tag, ".", folder=tree)
    archive = target / f"{name}.oci.tar"
    archive.unlink(missing_ok=True)
    run("buildah", "push", f"localhost/{tag}", f"oci-archive:{archive}:{tag}", folder=tree)
    normalize(archive, epoch)
    _write_sbom(archive, target / f"{name}.cdx.json", epoch)


def _write_sbom(archive: Path, path: Path, epoch: int) -> None:
    syft = ("syft",) if shutil.which("syft") else ("go", "run", _SYFT)
    quiet: Mapping[str, str] = {"SYFT_CHECK_FOR_APP_UPDATE": "false"}
    sbom = json.loads(
        run(*syft, "scan", "--quiet", f"oci-archive:{archive}", "--output", "cyclonedx-json", folder=path.parent, env=quiet)
    )
    sbom["metadata"]["timestamp"] = _iso(epoch)
    del sbom["serialNumber"]
    sbom["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(sbom, sort_keys=True)).urn
    path.write_text(json.dumps(sbom, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _iso(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
