"""The Dockerfile, read and not built: small, not root, nothing fetched but packages."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.test_kubernetes import OURS, container, pod, ports

ROOT = Path(__file__).parent.parent.parent


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, each with its words on one line."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(name, words) for name, _, words in (line.partition(" ") for line in lines if line)]


def words(name: str) -> list[str]:
    """Return what follows each instruction of that name."""
    return [words for each, words in instructions() if each == name]


class DockerfileTests(SynchronousTestCase):
    def test_the_base_can_be_chosen(self) -> None:
        """One base for both stages: an environment works with the Python that it was made with."""
        name, default = instructions()[0][1].split("=")
        self.assertEqual((instructions()[0][0], name), ("ARG", "BASE"))
        self.assertRegex(default, re.compile(r"^python:3\.\d+-slim-\w+$"))
        self.assertEqual(words("FROM"), ["${BASE} AS build", "${BASE}"])

    def test_not_root(self) -> None:
        """The last word on the user, a number that the manifests repeat."""
        (user,) = words("USER")
        number, group = (int(part) for part in user.split(":"))
        for deployment, name in OURS:
            security = {**pod(deployment)["securityContext"], **container(deployment, name)["securityContext"]}
            self.assertEqual((security["runAsUser"], security["runAsGroup"]), (number, group))

    def test_start(self) -> None:
        self.assertEqual(words("ENTRYPOINT"), ['["rtunnel"]'])
        self.assertEqual(words("CMD"), ['["--help"]'])

    def test_ports(self) -> None:
        (exposed,) = words("EXPOSE")
        self.assertEqual({int(port) for port in exposed.split()}, set(ports(container("proxy", "server")).values()))

    def test_nothing_is_fetched_by_hand(self) -> None:
        self.assertEqual(words("ADD"), [])
        for command in words("RUN"):
            self.assertNotRegex(command, re.compile(r"\b(curl|wget|git|apt|apt-get|sh)\b|https?:"))

    def test_the_plugin_cache_is_made(self) -> None:
        self.assertEqual(sum("getPlugins(IPlugin)" in command for command in words("RUN")), 1)

    def test_what_is_copied_reaches_the_builder(self) -> None:
        """Everything that is named exists, and .dockerignore lets it through and little else."""
        named = {path for line in words("COPY") if "--from" not in line for path in line.split()[:-1]}
        lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        self.assertEqual(lines[1], "*")
        self.assertEqual({line[1:] for line in lines if line.startswith("!")}, named)
        for path in named:
            self.assertTrue((ROOT / path).exists(), path)

    def test_leftovers_stay_behind(self) -> None:
        lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        for leftover in ("src/rtunnel/__pycache__", "src/rtunnel.egg-info", "src/twisted/plugins/dropin.cache"):
            self.assertTrue(any(fnmatch.fnmatch(leftover, line) for line in lines[2:]), leftover)
