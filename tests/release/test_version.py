from __future__ import annotations

import re
import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import rtunnel
from release.build import notes
from release.commands import ReleaseError
from release.version import current, mentions, set_version

ROOT = Path(__file__).parent.parent.parent


class VersionTests(SynchronousTestCase):
    """One version, wherever it is said."""

    def test_all_agree(self) -> None:
        """The package, the chart and every image that a manifest, a page or a message names."""
        found = list(mentions(ROOT))
        self.assertEqual({version for _, version in found}, {rtunnel.__version__})
        self.assertEqual(current(ROOT), rtunnel.__version__)
        files = {str(path) for path, _ in found}
        expected = {"src/rtunnel/__init__.py", "deploy/helm/rtunnel/Chart.yaml", "deploy/kubernetes/kustomization.yaml"}
        self.assertLessEqual(expected, files)
        self.assertEqual([str(path) for path, _ in found].count("deploy/helm/rtunnel/Chart.yaml"), 2)

    def copy(self) -> Path:
        root = Path(self.mktemp())
        for name in ("src", "deploy", "docs", "examples", "tests/data/inject"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Dockerfile", "README.md"):
            shutil.copy(ROOT / name, root / name)
        return root

    def test_set(self) -> None:
        root = self.copy()
        before = len(list(mentions(root)))
        set_version(root, "12.3.45")
        self.assertEqual([version for _, version in mentions(root)], ["12.3.45"] * before)
        old = re.compile(
            rf"\brtunnel[:@=]v?{re.escape(rtunnel.__version__)}\b|^(?:appV|v)ersion: {re.escape(rtunnel.__version__)}", re.M
        )
        texts = (path for path in root.rglob("*") if path.is_file())
        self.assertEqual([path for path in texts if old.search(path.read_text(encoding="utf-8", errors="replace"))], [])

    def test_refusal(self) -> None:
        for version in ("", "1.2", "v1.2.3", "1.2.3.dev0"):
            error = self.assertRaises(ReleaseError, set_version, Path(self.mktemp()), version)
            self.assertIn("three numbers", str(error))


class NotesTests(SynchronousTestCase):
    """What people read of a release."""

    def test_entry(self) -> None:
        """Only the entry of the version, which may be followed by others."""
        tree = Path(self.mktemp())
        tree.mkdir(parents=True)
        text = "# Changelog\n\nWords.\n\n## 0.2.0 (2030-01-02)\n\n### Added\n\n- More.\n\n## 0.1.0 (2030-01-01)\n\n- First.\n"
        (tree / "CHANGELOG.md").write_text(text, encoding="utf-8")
        self.assertEqual(notes(tree, "0.2.0"), "## 0.2.0 (2030-01-02)\n\n### Added\n\n- More.\n")
        self.assertEqual(notes(tree, "0.1.0"), "## 0.1.0 (2030-01-01)\n\n- First.\n")
