"""The build backend: which modules it compiles, when, and what becomes of a build that cannot."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from build_backend import MODULES
from tests.test_packaging import SOURCES, config, copy_what_is_built, lines

PYTHONS = ("enum", "typing")
"""Where bases may come from that are Python's own, beside exceptions."""

HEADERS = "python3-dev is not installed"


class Sources:
    """The classes of the package, and what they inherit from; nothing is imported.

    :ivar classes: module and name of each, with its bases and its decorators as they are written.
    """

    def __init__(self) -> None:
        self.classes: list[tuple[str, str, list[str], list[str]]] = []
        self._imported: dict[str, dict[str, str]] = {}
        for path in sorted((SOURCES / "rtunnel").rglob("*.py")):
            module = str(path.relative_to(SOURCES / "rtunnel").with_suffix(""))
            imported = self._imported[module] = {}
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module:
                    package, *rest = node.module.split(".")
                    of = "/".join(rest) if package == "rtunnel" else node.module
                    imported |= {alias.asname or alias.name: f"{of}/{alias.name}".lstrip("/") for alias in node.names}
                elif isinstance(node, ast.ClassDef):
                    # of Base[Some] the name
                    bases = [ast.unparse(base.value if isinstance(base, ast.Subscript) else base) for base in node.bases]
                    self.classes.append((module, node.name, bases, [ast.unparse(one) for one in node.decorator_list]))

    def definition(self, module: str, name: str) -> tuple[str, str]:
        """Module and name of a class that a module knows by a name, perhaps from a module that has imported it, too."""
        first, *rest = name.split(".")
        place = self._imported[module].get(first)
        if place is None:
            return module, name
        inner, _, last = "/".join([place, *rest]).rpartition("/")
        return self.definition(inner, last) if inner in self._imported else (inner, last)


class ModulesTests(SynchronousTestCase):
    """The modules that are compiled."""

    def test_they_are_there(self) -> None:
        for name in MODULES:
            self.assertTrue((SOURCES / "rtunnel" / f"{name}.py").is_file(), name)

    def test_order(self) -> None:
        """By folder from the wire up, each folder at one place, with its modules in the order of their names."""
        folders = [name.rpartition("/")[0] for name in MODULES]
        self.assertEqual(len(MODULES), len(set(MODULES)))
        changes = [folder for place, folder in enumerate(folders) if folders[place - 1 : place] != [folder]]
        self.assertEqual(len(changes), len(set(changes)), changes)
        for folder in changes:
            of_it = [name for name in MODULES if name.rpartition("/")[0] == folder]
            self.assertEqual(of_it, sorted(of_it))

    def test_subclasses_are_compiled_too(self) -> None:
        """An interpreted subclass of a compiled class cannot be imported."""
        sources = Sources()
        defined = {(module, name) for module, name, *_ in sources.classes}
        inherited = 0
        for module, name, bases, _ in sources.classes:
            for base in bases:
                above = sources.definition(module, base)
                if above[0] in MODULES and above in defined:
                    inherited += 1
                    self.assertIn(module, MODULES, f"{name} inherits from {base} of {above[0]}, which is compiled: so must it be")
        self.assertGreater(inherited, 3)

    def test_classes_are_compiled_to_the_last(self) -> None:
        """Mypyc leaves a class to the interpreter that has a decorator, or a base that is interpreted, and does not say so."""
        sources = Sources()
        looked_at = 0
        for module, name, bases, decorators in sources.classes:
            above = [sources.definition(module, base) for base in bases]
            # types for mypy alone, and values of attrs, are no matter
            if module in MODULES and ("typing", "Protocol") not in above and decorators != ["frozen"]:
                looked_at += 1
                self.assertEqual(decorators, [], f"{module}: {name}")
                interpreted = [base for base in above if base[0] not in (*MODULES, *PYTHONS)]
                self.assertEqual(interpreted, [], f"{module}: {name}")
        self.assertGreater(looked_at, 20)


class BuildTests(SynchronousTestCase):
    """What the backend answers and builds, in a copy of what it needs, without a network."""

    def setUp(self) -> None:
        self.tree = Path(self.mktemp()).absolute()
        copy_what_is_built(self.tree)

    def call(self, function: str, arguments: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Call a function of the backend as pip does, and print what it returns."""
        environ = {
            name: value for name, value in os.environ.items() if name != "RTUNNEL_COMPILE" and not name.startswith("COVERAGE_")
        }
        script = f"import build_backend; print(build_backend.{function}({arguments}), file=open('returned', 'w'))"
        argv = [sys.executable, "-c", script]
        return subprocess.run(argv, cwd=self.tree, env=environ | variables, capture_output=True, text=True, check=False)

    def requires(self, **variables: str) -> list[str]:
        """What a build asks for."""
        done = self.call("get_requires_for_build_wheel", **variables)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [str(requirement) for requirement in ast.literal_eval((self.tree / "returned").read_text(encoding="utf-8"))]

    def failing_compiler(self) -> dict[str, str]:
        """Variables of a build whose C compiler fails, at a module in the place of ours: the real ones take a minute until then."""
        package = self.tree / "standing in" / "mypyc"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "build.py").write_text(
            "from setuptools import Extension\n\n\n"
            "def mypycify(paths, **options):\n"
            "    return [Extension('rtunnel.wire.smux', ['smux.c'])]\n",
            encoding="utf-8",
        )
        (self.tree / "smux.c").touch()
        return {"PYTHONPATH": str(package.parent), "CC": "false"}

    def compilable(self) -> bool:
        """Whether there are the headers of Python; asked of the backend, with a compiler that is everywhere."""
        self.call("missing", CC="false")
        return (self.tree / "returned").read_text(encoding="utf-8") == "None\n"

    def test_a_wrong_word(self) -> None:
        for function, arguments in (("get_requires_for_build_wheel", ""), ("build_wheel", "'.'")):
            done = self.call(function, arguments, RTUNNEL_COMPILE="yes")
            self.assertEqual((done.returncode, done.stderr), (1, "RTUNNEL_COMPILE=yes: must be auto, 0 or 1\n"))

    def test_requirements_without_compiled_modules(self) -> None:
        self.assertEqual(self.requires(RTUNNEL_COMPILE="0"), [])

    def test_requirements_without_a_compiler(self) -> None:
        self.assertEqual(self.requires(CC="/nowhere/cc"), [])
        self.assertEqual(self.requires(RTUNNEL_COMPILE="auto", CC="/nowhere/cc -O1"), [])

    def test_requirements_of_compiled_modules(self) -> None:
        if not self.compilable():
            raise SkipTest(HEADERS)
        needed = lines(config("setup.cfg")["options"]["install_requires"])
        compiling = lines(config("setup.cfg")["options.extras_require"]["compile"])
        expected = [*compiling, *(line for line in needed if not line.startswith("#"))]
        self.assertIn("mypy", [line.split()[0] for line in expected])
        self.assertGreater(len(expected), 10)
        for variables in ({"RTUNNEL_COMPILE": "1"}, {"RTUNNEL_COMPILE": "auto"}, {}):
            self.assertEqual(self.requires(CC="false", **variables), expected)

    def test_no_compiler_where_one_is_needed(self) -> None:
        """It says so before anything is fetched or built."""
        done = self.call("get_requires_for_build_wheel", RTUNNEL_COMPILE="1", CC="/nowhere/cc")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^RTUNNEL_COMPILE=1: there is no C compiler /nowhere/cc \(.*apt-get install gcc.*\)\n$")

    def test_a_compilation_that_fails(self) -> None:
        """Without a word in RTUNNEL_COMPILE the wheel is one for every machine, and the reason is said in a line."""
        if not self.compilable():
            raise SkipTest(HEADERS)
        done = self.call("build_wheel", "'.'", **self.failing_compiler())
        self.assertEqual(done.returncode, 0, done.stderr)
        (said,) = (line for line in done.stderr.splitlines() if line.startswith("rtunnel: "))
        self.assertRegex(said, r"^rtunnel: its modules are not compiled, since that failed: .*\bfalse\b.* exit (code|status) 1\.?$")
        (wheel,) = self.tree.glob("*.whl")
        self.assertEqual((self.tree / "returned").read_text(encoding="utf-8").strip(), wheel.name)
        self.assertTrue(wheel.name.endswith("-py3-none-any.whl"), wheel.name)
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
        self.assertIn("rtunnel/wire/smux.py", names)
        self.assertEqual([name for name in names if name.endswith((".so", ".c"))], [])

    def test_a_compilation_that_must_not_fail(self) -> None:
        done = self.call("build_wheel", "'.'", RTUNNEL_COMPILE="1", **self.failing_compiler())
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(list(self.tree.glob("*.whl")), [])
        if self.compilable():
            self.assertRegex(done.stderr, r"\bfalse\b.* exit (code|status) 1")

    def test_editable(self) -> None:
        """A compiled module would hide the changes to its source."""
        done = self.call("get_requires_for_build_editable", RTUNNEL_COMPILE="1", CC="/nowhere/cc")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.call("build_editable", "'.'", **self.failing_compiler())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("rtunnel: ", done.stderr)
