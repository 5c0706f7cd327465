"""Alerting rules and the dashboard name metrics and labels that we export."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import optional

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
PAGE = DEPLOY.parent / "docs" / "metrics.md"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "rtunnel.json"

_METRIC = re.compile(r"\b(?:rtunnel|process)_[a-z_]+")
_LABEL = re.compile(r"([a-z_]+)(=~|!~|=|!=)\"([^\"]*)\"")
_BY = re.compile(r"by \(([a-z, ]+)\)")
_OF_PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
_OF_PROMETHEUS = {"instance"}


def exported() -> set[str]:
    """The metrics that docs/metrics.md lists, which a test of the exposition compares with what is exported."""
    return set(re.findall(r"^\| `(rtunnel_[a-z_]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) | _OF_PROCESS


def words() -> set[str]:
    """All that the page has in code style: outcomes, reasons, limits, labels."""
    return set(re.findall(r"`([a-z_]+)`", PAGE.read_text(encoding="utf-8")))


def rules() -> list[Any]:
    """The alerting rules."""
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def panels() -> list[Any]:
    """The panels of the dashboard."""
    return list(json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"])


def expressions() -> Iterator[str]:
    """Every expression of both."""
    for rule in rules():
        yield rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"]


class NameTests(SynchronousTestCase):
    def test_metrics(self) -> None:
        for expression in expressions():
            names = set(_METRIC.findall(expression))
            self.assertTrue(names, expression)
            self.assertEqual(names - exported(), set(), expression)

    def test_labels_and_their_values(self) -> None:
        for expression in expressions():
            for label, _, values in _LABEL.findall(expression):
                self.assertIn(label, words() | _OF_PROMETHEUS)
                if label not in _OF_PROMETHEUS:
                    self.assertEqual(set(values.split("|")) - words(), set(), expression)
            for labels in _BY.findall(expression):
                self.assertEqual(set(labels.split(", ")) - words() - _OF_PROMETHEUS, set(), expression)

    def test_rules_say_what_happened(self) -> None:
        names = [rule["alert"] for rule in rules()]
        self.assertEqual(len(names), len(set(names)))
        for rule in rules():
            self.assertIn(rule["labels"]["severity"], ("info", "warning", "critical"))
            self.assertTrue(rule["annotations"]["summary"] and rule["annotations"]["description"])

    def test_panels_do_not_overlap(self) -> None:
        places: set[tuple[int, int]] = set()
        for panel in panels():
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & places, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            places |= cells
        self.assertEqual(len({panel["id"] for panel in panels()}), len(panels()))


class PromtoolTests(SynchronousTestCase):
    def test_rules(self) -> None:
        promtool = optional("RTUNNEL_TEST_PROMTOOL", "promtool")
        done = subprocess.run([promtool, "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
