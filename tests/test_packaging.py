"""What setup.cfg says is what lies in the tree, and what a user gets."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src"
PLUGIN = "twisted/plugins/rtunnel_plugin.py"


def config(name: str) -> configparser.ConfigParser:
    """Read one of the files beside setup.cfg."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / name, encoding="utf-8")
    return parser


def lines(value: str) -> list[str]:
    """Return the lines of a list in an ini file."""
    return [line.strip() for line in value.splitlines() if line.strip()]


def packages_on_disk() -> set[str]:
    """Return the packages that a wheel needs: ours, and the folder of the plugins."""
    ours = {".".join(path.parent.relative_to(SOURCES).parts) for path in (SOURCES / "rtunnel").rglob("*.py")}
    return ours | {"twisted.plugins"}


def copy_what_is_built(folder: Path) -> None:
    """Copy what a wheel is built of to a folder that does not exist yet."""
    folder.mkdir(parents=True)
    shutil.copytree(SOURCES, folder / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    shutil.copytree(ROOT / "man", folder / "man")
    for name in ("setup.cfg", "setup.py", "build_backend.py", "mypyc.toml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)


class TreeTests(SynchronousTestCase):
    """setup.cfg and tox.ini against the tree."""

    def test_every_package_is_listed(self) -> None:
        listed = lines(config("setup.cfg")["options"]["packages"])
        self.assertEqual(set(listed), packages_on_disk())
        self.assertEqual(len(listed), len(set(listed)))

    def test_packages_have_an_init(self) -> None:
        for package in packages_on_disk() - {"twisted.plugins"}:
            self.assertTrue(SOURCES.joinpath(*package.split("."), "__init__.py").exists(), package)

    def test_plugins_have_none(self) -> None:
        """An ``__init__.py`` there would hide Twisted itself."""
        self.assertEqual(list((SOURCES / "twisted").rglob("__init__.py")), [])

    def test_the_oldest_versions_are_the_tested_ones(self) -> None:
        """The lower bounds of what is needed, and of the extras for servers."""
        setup = config("setup.cfg")
        extras = setup["options.extras_require"]
        bounds = lines("\n".join([setup["options"]["install_requires"], extras["regex"], extras["redis"]]))
        lower = {re.sub(r"\[.*\]", "", line).replace(" >= ", "==") for line in bounds if not line.startswith("#")}
        tested = lines((ROOT / "constraints-oldest.txt").read_text(encoding="utf-8"))
        self.assertEqual({line for line in tested if not line.startswith("#")}, lower)


class NewsTests(SynchronousTestCase):
    """The fragments that the next entry of the changelog is made of."""

    def test_names(self) -> None:
        with (ROOT / "pyproject.toml").open("rb") as file:
            kinds = {kind["directory"] for kind in tomllib.load(file)["tool"]["towncrier"]["type"]}
        for fragment in (ROOT / "newsfragments").glob("[!.]*"):
            found = re.fullmatch(r"(?:\d+|\+[\w-]+)\.([a-z]+)\.md", fragment.name)
            self.assertTrue(found and found[1] in kinds, f"{fragment.name}: ISSUE.KIND.md, KIND is one of {sorted(kinds)}")


class WheelTests(SynchronousTestCase):
    """The wheel without compiled modules, built without a network from a copy of the tree."""

    def build(self) -> zipfile.ZipFile:
        copy = Path(self.mktemp())
        copy_what_is_built(copy)
        script = "from build_backend import build_wheel; build_wheel('.')"
        environ = {**os.environ, "RTUNNEL_COMPILE": "0"}
        done = subprocess.run([sys.executable, "-c", script], cwd=copy, env=environ, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        (wheel,) = copy.glob("*-py3-none-any.whl")
        return zipfile.ZipFile(wheel)

    def test_contents(self) -> None:
        with self.build() as wheel:
            names = set(wheel.namelist())
            metadata = {name.split("/")[-1]: name for name in names if ".dist-info/" in name}
            entry_points = wheel.read(metadata["entry_points.txt"]).decode()
        pages = {name for name in names if ".data/data/share/man/man1/" in name}
        self.assertEqual({name.rpartition("/")[2] for name in pages}, {path.name for path in (ROOT / "man").glob("*.1")})
        code = {name for name in names if ".dist-info/" not in name} - pages
        on_disk = {str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.py")} | {"rtunnel/py.typed"}
        self.assertEqual(code, on_disk)
        self.assertIn(PLUGIN, code)
        self.assertIn("LICENSE", metadata)
        self.assertIn("rtunnel = rtunnel.__main__:main", entry_points)
