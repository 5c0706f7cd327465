"""The files of a release."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from release.archives import normalize
from release.commands import ReleaseError, run
from release.image import build_image, missing
from release.version import current

__all__ = ["build", "notes"]


def build(root: Path, target: Path, base: str | None = None) -> None:
    """Write wheel, sdist, image, SBOM, notes and checksums of the last commit.

    Where the image cannot be built, it and its SBOM are left out, and the reason is printed.

    :param root: the work tree, whose changes since the commit do not matter.
    :param target: a folder, which is emptied first.
    :param base: the image's base, see :func:`release.image.build_image`.
    :raises ReleaseError: this version was released from another commit, or a program failed.
    """
    revision = run("git", "rev-parse", "HEAD", folder=root).strip()
    epoch = int(run("git", "log", "-1", "--format=%ct", folder=root))
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with TemporaryDirectory() as folder:
        tree = Path(folder, "rtunnel")
        _export(root, tree)
        version = current(tree)
        _check_unreleased(root, version, revision)
        _build_packages(tree, target, epoch)
        (target / "NOTES.md").write_text(notes(tree, version), encoding="utf-8")
        reason = missing()
        if reason is None:
            build_image(tree, target, version, epoch, revision, base)
    _write_checksums(target)
    for path in sorted(target.iterdir()):
        print(f"{path.stat().st_size:>10} {path.name}")
    if reason is not None:
        print(f"without the image: {reason}")


def _export(root: Path, tree: Path) -> None:
    """Copy the last commit: nothing that lies around in the work tree gets into a release."""
    tree.mkdir()
    archive = tree.parent / "tree.tar"
    run("git", "archive", "--format=tar", f"--output={archive}", "HEAD", folder=root)
    run("tar", "--extract", f"--file={archive}", folder=tree)


def _check_unreleased(root: Path, version: str, revision: str) -> None:
    if run("git", "tag", "--list", f"v{version}", folder=root):
        released = run("git", "rev-parse", f"v{version}^{{commit}}", folder=root).strip()
        if released != revision:
            raise ReleaseError(f"{version} was released from commit {released[:12]}; the next one needs make version VERSION=...")


def _build_packages(tree: Path, target: Path, epoch: int) -> None:
    # the wheel for every machine; those with compiled modules need one machine of each kind, and come of the workflow
    variables = {"SOURCE_DATE_EPOCH": str(epoch), "RTUNNEL_COMPILE": "0"}
    run(sys.executable, "-m", "build", "--outdir", str(target), ".", folder=tree, env=variables)
    (sdist,) = target.glob("*.tar.gz")
    normalize(sdist, epoch)


def notes(tree: Path, version: str) -> str:
    """Return the changelog's entry for a version; while there is none, what it would be."""
    entries = re.split(r"^(?=## )", (tree / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for entry in entries:
        if entry.startswith(f"## {version} "):
            return entry.rstrip() + "\n"
    return run(sys.executable, "-m", "towncrier", "build", "--draft", "--version", version, folder=tree)


def _write_checksums(target: Path) -> None:
    """As ``sha256sum --check`` reads them."""
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(target.iterdir())]
    (target / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
