"""Manifests that the API server would refuse: a line says where the fault is, and nothing of them is changed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.inject.context import Context
from rtunnel.inject.injection import InjectError, Wanted, inject
from rtunnel.inject.patch import patches
from tests.inject.test_injection import HOST, TUNNEL, source

_WANTED = Wanted(host=HOST, image="rtunnel", port="80", context=Context(env=True, files=True))
_CONTAINER = "      - name: app\n"
_TEXT = (
    f"kind: Deployment\nmetadata:\n  name: shop\nspec:\n  template:\n    spec:\n      containers:\n{_CONTAINER}"
    "        image: app:1\n"
)


class TemplateTests(SynchronousTestCase):
    def refused(self, old: str, new: str, why: str) -> None:
        self.assertIn(old, _TEXT)
        with self.assertRaises(InjectError) as caught:
            inject(_TEXT.replace(old, new), _WANTED, lambda: TUNNEL)
        self.assertEqual(
            str(caught.exception), f"nothing to inject for {HOST}:\n  deployment/shop: skipped: in its template, {why}"
        )

    def in_container(self, line: str, why: str) -> None:
        self.refused(_CONTAINER, f"{_CONTAINER}        {line}\n", f"spec.containers[0].{why}")

    def test_accepted(self) -> None:
        inject(_TEXT, _WANTED, lambda: TUNNEL)

    def test_names(self) -> None:
        self.refused("name: app\n", "nam: app\n", "spec.containers[0] has no name")
        self.refused(_CONTAINER, "      - app\n      - name: other\n", "spec.containers[0] is not a map")
        self.refused(_CONTAINER, f"      - name: app\n{_CONTAINER}", "spec.containers[1] has the name of another, app")

    def test_lists(self) -> None:
        self.refused("      containers:", "      volumes: {name: v}\n      containers:", "spec.volumes is not a list")
        self.in_container("env: {A: b}", "env is not a list")
        self.in_container("envFrom: [c]", "envFrom[0] is not a map")
        self.in_container("env: [null]", "env[0] is not a map")

    def test_maps(self) -> None:
        self.in_container("env: [{name: A, valueFrom: b}]", "env[0].valueFrom is not a map")
        self.in_container("env: [{name: [A]}]", "env[0].name is not a text or number")
        self.in_container("name: app", "name is there twice")
        self.refused(_CONTAINER, f"{_CONTAINER}        [name]: app\n", "a key of spec.containers[0] is not a text")
        self.refused("    spec:\n", "    metadata: shop\n    spec:\n", "metadata is not a map")

    def test_tagged_numbers(self) -> None:
        """What a tag calls a number is a text if it is none."""
        text = _TEXT.replace(_CONTAINER, f"{_CONTAINER}        env: [{{name: A, value: !!int b}}]\n")
        self.assertIn("value: b\n", inject(text, _WANTED, lambda: TUNNEL).text)
        self.assertTrue(patches(text, inject(text, _WANTED, lambda: TUNNEL).text))

    def test_long_numbers(self) -> None:
        """Those that Python itself does not read."""
        text = _TEXT.replace("    spec:\n", f"    spec:\n      terminationGracePeriodSeconds: {'9' * 5000}\n")
        outcome = inject(text, _WANTED, lambda: TUNNEL)
        self.assertTrue(any("terminationGracePeriodSeconds is below 13" in str(report) for report in outcome.reports))
        self.assertTrue(patches(text, outcome.text))


class RouteTests(SynchronousTestCase):
    def reports(self, old: str, new: str) -> list[str]:
        text = source("route")
        self.assertIn(old, text)
        return [str(report) for report in inject(text.replace(old, new, 1), _WANTED, lambda: TUNNEL).reports]

    def test_no_metadata(self) -> None:
        lines = self.reports("metadata:\n  name: shop\n", "")
        self.assertIn("httproute/: skipped: has no metadata, so no place for what is needed to undo it", lines)

    def test_annotations(self) -> None:
        lines = self.reports("  name: shop\n", "  name: shop\n  annotations: [a]\n")
        self.assertIn("httproute/shop: skipped: metadata.annotations is not a map", lines)


class SecretTests(SynchronousTestCase):
    def test_no_map(self) -> None:
        secret = "kind: Secret\nmetadata: {name: rtunnel, labels: {app.kubernetes.io/part-of: rtunnel}}\nstringData: text\n---\n"
        reports = inject(secret + _TEXT, _WANTED, lambda: TUNNEL).reports
        self.assertIn("secret/rtunnel: skipped: stringData is not a map", [str(report) for report in reports])


class BoundTests(SynchronousTestCase):
    """What few bytes may cost."""

    def refused(self, more: str, why: str) -> None:
        with self.assertRaisesRegex(InjectError, rf"^not YAML in line \d+: {why}$"):
            inject(_TEXT + more, _WANTED, lambda: TUNNEL)

    def test_depth(self) -> None:
        self.refused(f"a: {'[' * 99}{']' * 99}\n" + f"b: {'[' * 100}{']' * 100}\n", "more than 100 levels")
        inject(_TEXT + f"a: {'[' * 99}{']' * 99}\n", _WANTED, lambda: TUNNEL)

    def test_aliases(self) -> None:
        lines = "".join(f"a{index}: &a{index} [{', '.join([f'*a{index - 1}'] * 10)}]\n" for index in range(1, 6))
        self.refused(f"a0: &a0 [1]\n{lines}", "aliases repeat more than 100000 nodes")

    def test_an_alias_in_itself(self) -> None:
        self.refused("a: &a {b: *a}\n", r"\*a is in what it repeats")
