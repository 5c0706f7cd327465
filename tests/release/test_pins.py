"""The lock files against setup.cfg: what the image gets is what the package asks for, each file known by its hash."""

from __future__ import annotations

import configparser
import os
import re
import stat
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from twisted.trial.unittest import SynchronousTestCase

from build_backend import needed_to_compile
from release.commands import ReleaseError
from release.pins import EXTRAS, pin_base

ROOT = Path(__file__).parent.parent.parent


def pinned(name: str) -> dict[str, list[tuple[Requirement, int]]]:
    """Return the requirements of a lock file by their names, each with how many hashes it has; a name may have several markers."""
    found: dict[str, list[tuple[Requirement, int]]] = {}
    text = (ROOT / name).read_text(encoding="utf-8")
    for entry in re.split(r"\n(?=[a-z])", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)):
        requirement = Requirement(entry.partition("\\")[0].strip())
        found.setdefault(canonicalize_name(requirement.name), []).append((requirement, entry.count("--hash=sha256:")))
    return found


class LockTests(SynchronousTestCase):
    """Of "make lock"."""

    def check(self, wanted: list[str], locked: dict[str, list[tuple[Requirement, int]]]) -> None:
        for line in wanted:
            requirement = Requirement(line)
            versions = [next(iter(pin.specifier)).version for pin, _ in locked.get(canonicalize_name(requirement.name), ())]
            self.assertTrue(versions, f"{line} is not locked: make lock")
            for version in versions:
                self.assertTrue(requirement.specifier.contains(version), f"{requirement.name} {version} is locked: make lock")
        for pins in locked.values():
            for pin, hashes in pins:
                self.assertEqual([specifier.operator for specifier in pin.specifier], ["=="], pin)
                self.assertGreater(hashes, 0, pin)

    def test_image(self) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(ROOT / "setup.cfg", encoding="utf-8")
        texts = [parser["options"]["install_requires"], *(parser["options.extras_require"][extra] for extra in EXTRAS)]
        wanted = [line for text in texts for line in text.splitlines() if line and not line.startswith("#")]
        self.assertGreater(len(wanted), 10)
        self.check(wanted, pinned("requirements.lock"))

    def test_build(self) -> None:
        with (ROOT / "pyproject.toml").open("rb") as file:
            wanted = [*tomllib.load(file)["build-system"]["requires"], *needed_to_compile()]
        self.check(wanted, pinned("requirements-build.lock"))

    def test_the_build_has_the_versions_of_the_image(self) -> None:
        """The modules are compiled for the types that they will meet."""
        image, build = pinned("requirements.lock"), pinned("requirements-build.lock")
        self.assertGreater(len(image.keys() & build.keys()), 10)
        for name in image.keys() & build.keys():
            self.assertEqual({pin.specifier for pin, _ in build[name]}, {pin.specifier for pin, _ in image[name]}, name)

    def test_no_registry_is_named(self) -> None:
        for name in ("requirements.lock", "requirements-build.lock"):
            self.assertNotIn("://", (ROOT / name).read_text(encoding="utf-8"))


class BaseTests(SynchronousTestCase):
    """Of "make pin", with a program in the place of skopeo that answers as the registry would."""

    OLD = "sha256:" + "0" * 64
    NEW = "sha256:" + "1" * 64

    def pin(self, line: str, answer: str) -> str:
        root = Path(self.mktemp()).absolute()
        root.mkdir(parents=True)
        (root / "Dockerfile").write_text(f"# words\n{line}\nFROM ${{BASE}}\n", encoding="utf-8")
        program = root / "skopeo"
        program.write_text(f'#!/bin/sh\necho "$@" > {root}/asked\n{answer}\n', encoding="utf-8")
        program.chmod(stat.S_IRWXU)
        self.patch(os, "environ", {**os.environ, "PATH": f"{root}{os.pathsep}{os.environ['PATH']}"})
        pin_base(root)
        self.assertIn("docker://example.org/python:3-slim", (root / "asked").read_text(encoding="utf-8"))
        return (root / "Dockerfile").read_text(encoding="utf-8")

    def test_newer(self) -> None:
        text = self.pin(f"ARG BASE=example.org/python:3-slim@{self.OLD}", f"echo {self.NEW}")
        self.assertEqual(text, f"# words\nARG BASE=example.org/python:3-slim@{self.NEW}\nFROM ${{BASE}}\n")

    def test_no_answer(self) -> None:
        line = f"ARG BASE=example.org/python:3-slim@{self.OLD}"
        error = self.assertRaises(ReleaseError, self.pin, line, "echo no route to host >&2; exit 1")
        self.assertIn("no route to host", str(error))

    def test_nothing_to_pin(self) -> None:
        error = self.assertRaises(ReleaseError, self.pin, "ARG BASE=python:3", "exit 1")
        self.assertIn("ARG BASE=NAME:TAG@sha256", str(error))
