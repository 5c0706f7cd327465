"""Patches for kustomize: applied to what was there, they give what is injected."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.inject.patch import patches
from tests.inject.test_injection import CASES, FOLDER, documents, injected, source
from tests.support.processes import optional

NEW = ("containers", "initContainers", "volumes")
"""Lists whose items are found by their name."""


def merged(value: Any, patch: Any, name: str = "") -> Any:
    """A value after a strategic merge patch, as far as our patches use it."""
    if isinstance(value, dict) and isinstance(patch, dict):
        return {**value, **{key: merged(value.get(key), one, key) for key, one in patch.items()}}
    if name in NEW and isinstance(value, list):
        present = {one["name"]: one for one in value}
        changed = {one["name"]: merged(present.get(one["name"]), one) for one in patch}
        return [changed.get(name, one) for name, one in present.items()] + [
            one for name, one in changed.items() if name not in present
        ]
    return patch


def identity(resource: Any) -> tuple[str, str, str]:
    """Which resource it is."""
    metadata = resource["metadata"]
    return resource["kind"], metadata.get("namespace", ""), metadata["name"]


def in_any_order(resource: Any) -> Any:
    """A resource with the lists of its pods sorted: kustomize puts new items first."""
    resource = copy.deepcopy(resource)
    for pod in [resource.get("spec", {}).get("template", {}).get("spec", {})]:
        for name in NEW:
            if name in pod:
                pod[name].sort(key=lambda one: str(one["name"]))
    return resource


class PatchTests(SynchronousTestCase):
    def test_golden(self) -> None:
        found = "---\n".join(patches(source("context"), injected("context").text))
        self.assertEqual(found, (FOLDER / "context.patch.yaml").read_text(encoding="utf-8"))

    def test_applied(self) -> None:
        for name in CASES:
            with self.subTest(name=name):
                outcome = injected(name)
                resources = {identity(one): one for one in documents(source(name))}
                wanted = {identity(one): one for one in documents(outcome.text)}
                for text in patches(source(name), outcome.text):
                    (patch,) = yaml.safe_load_all(text)
                    resources[identity(patch)] = merged(resources[identity(patch)], patch)
                added = {identity(one) for text in outcome.added for one in documents(text)}
                self.assertEqual(resources, {key: one for key, one in wanted.items() if key not in added})

    def test_nothing_changed(self) -> None:
        text = injected("deployment").text
        self.assertEqual(patches(text, text), [])

    def test_unknown_kinds(self) -> None:
        """Their lists may have any items."""
        other = "---\nkind: Widget\nmetadata: {name: shop}\nspec: {containers: [one], volumes: [{path: /a}, null]}\n"
        before = source("deployment") + other
        self.assertEqual(
            patches(before, injected("deployment", before).text), patches(source("deployment"), injected("deployment").text)
        )

    def test_kustomize(self) -> None:
        """What kustomize itself makes of them."""
        kubectl = optional("RTUNNEL_TEST_KUBECTL", "kubectl")
        for name in ("deployment", "classic", "statefulset", "context", "chart"):
            outcome = injected(name)
            folder = Path(self.mktemp())
            folder.mkdir()
            (folder / "base.yaml").write_text(source(name), encoding="utf-8")
            (folder / "new.yaml").write_text("---\n".join(outcome.added), encoding="utf-8")
            (folder / "patch.yaml").write_text("---\n".join(patches(source(name), outcome.text)), encoding="utf-8")
            kustomization = {"resources": ["base.yaml", "new.yaml"], "patches": [{"path": "patch.yaml"}]}
            (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
            done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            found, wanted = ({identity(one): in_any_order(one) for one in documents(text)} for text in (done.stdout, outcome.text))
            self.assertEqual(found, wanted, name)
