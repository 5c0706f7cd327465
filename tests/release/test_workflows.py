"""The hosted workflows: their steps are targets of the Makefile, and they run what setup.cfg claims."""

from __future__ import annotations

import configparser
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def load(path: Path) -> dict[str, Any]:
    """Return a workflow; YAML 1.1 takes its key ``on`` for true."""
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    workflow["on"] = workflow.pop(True)
    return dict(workflow)


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all jobs, with names for messages."""
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            yield f"{path.name}: {name}", job


def commands(job: dict[str, Any]) -> Iterator[str]:
    """Yield what the steps of a job run, for each row of its matrix."""
    matrix = dict(job.get("strategy", {}).get("matrix", {}))
    rows: list[dict[str, str]] = matrix.pop("include", None) or [
        dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())
    ]
    for step in job["steps"]:
        for row in rows if "run" in step else ():
            yield re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda name, row=row: row[name[1]], step["run"])  # type: ignore[misc]


def config(name: str) -> configparser.ConfigParser:
    """Read one of the ini files of the tree."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / name, encoding="utf-8")
    return parser


class WorkflowTests(SynchronousTestCase):
    """All of them."""

    def test_shape(self) -> None:
        self.assertEqual([path.stem for path in WORKFLOWS], ["nightly", "release", "tests"])
        for path in WORKFLOWS:
            workflow = load(path)
            self.assertLessEqual({"name", "on", "permissions", "jobs"}, set(workflow), path.name)
        for name, job in jobs():
            self.assertLessEqual({"runs-on", "timeout-minutes", "steps"}, set(job), name)
            self.assertTrue(all(("run" in step) != ("uses" in step) for step in job["steps"]), name)

    def test_steps_are_targets(self) -> None:
        """Whoever sees one fail can repeat it; only the upload of a release is GitHub's alone."""
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
        for name, job in jobs():
            for command in commands(job):
                if command.startswith("gh release "):
                    self.assertTrue(name.startswith("release.yml: "), name)
                    continue
                found = re.match(r'(?:sudo env "PATH=\$PATH" (?:CI=true )?)?make ([a-z-]+)(?: ARGS="[^"]*")?$', command)
                assert found is not None, f"{name}: {command}"
                self.assertIn(found[1], targets, name)

    def test_actions_are_pinned(self) -> None:
        """By commit: a tag can be moved."""
        for path in WORKFLOWS:
            for line in re.findall(r"uses:.*", path.read_text(encoding="utf-8")):
                self.assertRegex(line, r"^uses: (actions|pypa)/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", path.name)

    def test_what_a_change_has_to_pass(self) -> None:
        """What .ci/run runs, hosted."""
        script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
        ours = set(re.findall(r"^(?:check |    )make ([\w-]+)", script, re.MULTILINE))
        hosted = {command for name, job in jobs() if name.startswith("tests.yml") for command in commands(job)}
        self.assertLessEqual(ours, {re.sub(r".*\bmake ", "", command) for command in hosted})

    def test_pythons(self) -> None:
        """Those of setup.cfg, in tox.ini and in the workflow."""
        claimed = re.findall(r"Python :: (3\.\d+)$", config("setup.cfg")["metadata"]["classifiers"], re.MULTILINE)
        tested = load(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]
        self.assertEqual(tested["python"]["strategy"]["matrix"]["python"], claimed)
        named = re.findall(r"\bpy3(\d+)\b", config("tox.ini")["tox"]["env_list"])
        self.assertEqual([f"3.{minor}" for minor in named], claimed)
        bases = [config("tox.ini")[f"testenv:{name}"]["base_python"].removeprefix("python") for name in ("oldest", "newest")]
        self.assertEqual(bases, [claimed[0], claimed[-1]])
        rows = tested["dependencies"]["strategy"]["matrix"]["include"]
        self.assertEqual([row["python"] for row in rows], bases)
        self.assertEqual(tested["compiled"]["strategy"]["matrix"]["python"], bases)

    def test_compiled_wheels(self) -> None:
        """For each Python of setup.cfg; compiled or not made."""
        claimed = re.findall(r"Python :: (3\.\d+)$", config("setup.cfg")["metadata"]["classifiers"], re.MULTILINE)
        (step,) = (
            step
            for step in load(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["compiled"]["steps"]
            if step.get("uses", "").startswith("pypa/cibuildwheel@")
        )
        built = re.findall(r"\bcp3(\d+)-manylinux_\*", step["env"]["CIBW_BUILD"])
        self.assertEqual([f"3.{minor}" for minor in built], claimed)
        self.assertEqual(step["env"]["CIBW_ENVIRONMENT"], "RTUNNEL_COMPILE=1")
