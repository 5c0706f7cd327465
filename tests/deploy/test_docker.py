"""The Dockerfile, tried without Docker: what it copies builds the wheel, and what it starts is a command of ours."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.__main__ import main
from rtunnel.inject.context import PYTHON
from rtunnel.podenv.rules import is_private
from rtunnel.podenv.variables import Variable
from tests.deploy.test_kubernetes import OURS, container, pod, ports

ROOT = Path(__file__).parent.parent.parent


@attrs.frozen
class Instruction:
    """One instruction, with its flags (``--from=build``) apart from its arguments, on one line."""

    name: str
    flags: tuple[str, ...]
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments, as a JSON list or as the shell would split them."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


def instructions() -> Iterator[Instruction]:
    """Yield the instructions of the Dockerfile."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in filter(None, re.sub(r"\\\n\s*", " ", text).splitlines()):
        name, _, rest = line.partition(" ")
        words = rest.split(" ")
        flags = tuple(word for word in words if name == "COPY" and word.startswith("--"))
        yield Instruction(name, flags, " ".join(words[len(flags) :]))


def stages() -> tuple[list[Instruction], list[Instruction], list[Instruction]]:
    """Return the instructions of the three stages, each from its FROM on: the wheel, its installation, the image."""
    found: list[list[Instruction]] = []
    for instruction in instructions():
        if instruction.name == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    wheel, build, image = found
    return wheel, build, image


def only(stage: list[Instruction], name: str) -> Instruction:
    """Return the one instruction of that name."""
    (found,) = (instruction for instruction in stage if instruction.name == name)
    return found


def ignore_file() -> tuple[list[str], list[str]]:
    """Return the patterns of .dockerignore: those that keep something out, and those that let it in again."""
    lines = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [line for line in lines if not line.startswith("!")], [line[1:] for line in lines if line.startswith("!")]


class BuildTests(SynchronousTestCase):
    """The stages that build."""

    def setUp(self) -> None:
        self.wheel, self.build, self.image = stages()

    def test_the_base_can_be_chosen(self) -> None:
        """The default is pinned: a tag for people, and the digest that it had."""
        first = next(instructions())
        name, _, default = first.text.partition("=")
        for stage in (self.wheel, self.build):
            self.assertEqual((first.name, stage[0].words[0]), ("ARG", f"${{{name}}}"))
        version = re.fullmatch(r"docker\.io/library/python:3\.(\d+)\.\d+-slim-\w+@sha256:[0-9a-f]{64}", default)
        assert version is not None, default
        self.assertGreaterEqual(int(version[1]), 11)

    def test_what_is_installed_is_known(self) -> None:
        """Each installation names a file of hashes, or wheels that were built here and no registry."""
        pips = [
            part.split()
            for instruction in (*self.wheel, *self.build)
            if instruction.name == "RUN"
            for part in instruction.text.split("&&")
            if "/pip " in part
        ]
        self.assertEqual(len(pips), 4)
        for pip in pips:
            self.assertTrue("--require-hashes" in pip or {"--no-index", "--no-deps"} <= set(pip), pip)

    def test_what_is_copied_builds_the_wheel(self) -> None:
        """Nothing else of the tree reaches the builder, and the wheel has the plugin, the command and all the code."""
        folder = Path(self.mktemp()) / "src"
        folder.mkdir(parents=True)
        for copy in (instruction for instruction in self.wheel if instruction.name == "COPY"):
            *names, target = copy.words
            for name in names:
                if (ROOT / name).is_dir():
                    leftovers = shutil.ignore_patterns("__pycache__", "*.egg-info", "dropin.cache")
                    shutil.copytree(ROOT / name, folder / target, ignore=leftovers)
                else:
                    shutil.copy(ROOT / name, folder / target)
        script = "from build_backend import build_wheel; build_wheel('.')"
        # that of the image is compiled, which "make packages" shows
        environ = {**os.environ, "RTUNNEL_COMPILE": "0"}
        done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=environ, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        (path,) = folder.glob("*.whl")
        with zipfile.ZipFile(path) as wheel:
            names = wheel.namelist()
            (commands,) = (wheel.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
        self.assertIn("twisted/plugins/rtunnel_plugin.py", names)
        self.assertIn(f"{only(self.image, 'ENTRYPOINT').words[0]} = ", commands)
        self.assertEqual({name for name in names if name.endswith(".py")}, sources())

    def test_what_is_copied_reaches_the_builder(self) -> None:
        """.dockerignore lets through what is copied and nothing else."""
        kept_out, let_in = ignore_file()
        self.assertEqual(kept_out[0], "*")
        copies = [step for step in (*self.wheel, *self.build) if step.name == "COPY" and not step.flags]
        copied = {name for step in copies for name in step.words[:-1]}
        self.assertEqual(set(let_in), copied)
        for leftover in ("src/rtunnel/__pycache__", "src/rtunnel.egg-info", "src/twisted/plugins/dropin.cache"):
            self.assertTrue(any(fnmatch.fnmatch(leftover, pattern) for pattern in kept_out[1:]), leftover)

    def test_nothing_is_fetched_by_hand(self) -> None:
        """Nothing at all but wheels and the C compiler, which no later stage sees."""
        self.assertNotIn("ADD", {instruction.name for instruction in instructions()})
        compilers = [step for step in self.wheel if step.name == "RUN" and "apt-get" in step.text]
        self.assertEqual(len(compilers), 1)
        for step in (step for step in instructions() if step.name == "RUN" and step != compilers[0]):
            self.assertNotRegex(step.text, re.compile(r"\b(curl|wget|git|apt|apt-get|sh)\b|https?:"))

    def test_the_server_is_compiled(self) -> None:
        """The build fails where it cannot be, and only the wheel goes on from there."""
        (build,) = (step.text for step in self.wheel if step.name == "RUN" and "pip wheel" in step.text)
        self.assertEqual(build.split()[0], "RTUNNEL_COMPILE=1")
        folder = build.split()[build.split().index("--wheel-dir") + 1]
        taken = [step for step in (*self.build, *self.image) if step.flags == (f"--from={self.wheel[0].words[-1]}",)]
        self.assertEqual([step.words for step in taken], [[folder, folder]])
        (install,) = (step.text for step in self.build if step.name == "RUN" and "--find-links" in step.text)
        self.assertIn(f"--find-links {folder} rtunnel", install)


class ImageTests(SynchronousTestCase):
    """The last stage: what runs."""

    def setUp(self) -> None:
        _, self.build, self.image = stages()

    def test_only_what_is_needed_is_taken_over(self) -> None:
        """The base is not in it; the root file system is what the stage before wrote, with the environment that it made."""
        self.assertEqual(self.image[0].words, ["scratch"])
        copy = only(self.image, "COPY")
        source, target = copy.words
        self.assertEqual((copy.flags, target), ((f"--from={self.build[0].words[-1]}",), "/"))
        commands = [part.split() for step in self.build if step.name == "RUN" for part in step.text.split("&&")]
        environment, root = commands[-1][-2:]
        self.assertEqual(commands[-1], ["python3", "root_filesystem.py", environment, root])
        self.assertEqual(root, source)
        self.assertIn(["python3", "-m", "venv", "--without-pip", environment], commands)
        self.assertIn(f"PATH={environment}/bin", only(self.image, "ENV").words)
        # commands in manifests name it, whatever PATH they have
        self.assertEqual(PYTHON, f"{environment}/bin/python3")

    def test_no_variable_looks_like_one_of_the_pod(self) -> None:
        """A sidecar gives out the environment of its container as that of the pod."""
        for word in only(self.image, "ENV").words:
            name, _, value = word.partition("=")
            self.assertTrue(is_private(Variable(name, value)), word)

    def test_not_root(self) -> None:
        """The last word on the user, a number that the manifests repeat."""
        number, group = (int(part) for part in only(self.image, "USER").text.split(":"))
        self.assertGreater(min(number, group), 0)
        for deployment, name in OURS:
            security = {**pod(deployment)["securityContext"], **container(deployment, name)["securityContext"]}
            self.assertEqual((security["runAsUser"], security["runAsGroup"]), (number, group))

    def test_start(self) -> None:
        """Without arguments it shows the help of the command."""
        (program,) = only(self.image, "ENTRYPOINT").words
        with redirect_stdout(StringIO()) as output:
            self.assertEqual(main(only(self.image, "CMD").words), 0)
        self.assertIn(f"{program} server", output.getvalue())

    def test_ports(self) -> None:
        exposed = {int(port) for port in only(self.image, "EXPOSE").words}
        self.assertEqual(exposed, set(ports(container("proxy", "server")).values()))


class RootFilesystemTests(SynchronousTestCase):
    """What is left out of libraries is what nothing of ours imports."""

    def test_unused_parts(self) -> None:
        script = f"""
import pkgutil, sys
sys.path.insert(0, {str(ROOT)!r})
from deploy.image.root_filesystem import UNUSED_LIBRARIES, UNUSED_PYTHON
import rtunnel
for module in pkgutil.walk_packages(rtunnel.__path__, "rtunnel."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
unused = [part.replace("/", ".") for part in UNUSED_LIBRARIES] + [part.split(".")[0] for part in UNUSED_PYTHON if "*" not in part]
print(len(unused), *sorted(set(unused) & set(sys.modules)))
"""
        # what measures the coverage of the tests imports some of them
        env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=env)
        self.assertRegex(done.stdout, r"^\d\d\n$", done.stderr)


def sources() -> set[str]:
    """Return the Python files of the package and its plugin, as they stand in a wheel."""
    return {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
