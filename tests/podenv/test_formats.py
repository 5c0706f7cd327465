"""Values survive every format exactly, through the real shells and parsers; what a format cannot hold is refused by name."""

from __future__ import annotations

import ctypes
import io
import json
import os
import re
import subprocess
from collections.abc import Callable
from glob import glob
from pathlib import Path

import yaml
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from rtunnel.podenv.formats import DOCKER_LINE, FORMATS, UnfitError, write
from tests.support.processes import needed

VALUES = {
    "EMPTY": "",
    "PLAIN": "value",
    "SPACES": "  two  blanks at both ends  ",
    "QUOTES": "it's \"quoted\", 'twice' and \u2018curly\u2019",
    "DOLLARS": "$HOME ${HOME} $(id) `id` $$ $1 %PATH% %%",
    "BACKSLASHES": "\\ \\\\ \\n \\' \\\" middle",
    "LAST": "a backslash\\",
    "LINES": "first\nsecond\n\nlast\n",
    "RETURNS": "a\r\nb\rc",
    "TABS": "a\tb",
    "EQUALS": "a=b=c",
    "HASH": "# no comment #",
    "MARKS": "!important !! ~ * ? [a] {b,c} <d> | & ; ( )",
    "UTF8": "gr\u00fc\u00dfe \u65e5\u672c \U0001f600",
    "KEY": "-----BEGIN KEY-----\n" + "MIIE+/=\n" * 30 + "-----END KEY-----\n",
    "LARGE": "x'$\\\"\n" * 17_000,
    "LATIN": "not utf-8: \udce9",
}
"""What has broken environments before; LARGE has 100 KB."""

NAMES = st.from_regex(r"X[A-Z0-9_]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)


class FormatCase(SynchronousTestCase):
    format = ""
    read: Callable[..., dict[str, str]]

    def fitting(self, values: dict[str, str]) -> dict[str, str]:
        """Those of some variables that the format can hold; the others are refused by name."""
        fitting = {}
        for name, value in values.items():
            try:
                write(self.format, {name: value})
            except UnfitError as error:
                self.assertIn(name, str(error))
                self.assertIn("--exclude", str(error))
            else:
                fitting[name] = value
        return fitting

    def check(self, values: dict[str, str], *refused: str) -> None:
        fitting = self.fitting(values)
        self.assertEqual(sorted(set(values) - set(fitting)), sorted(refused))
        self.assertEqual(self.read(write(self.format, fitting)), fitting)


class ShTests(FormatCase):
    """A shell runs the file, then a child prints its environment."""

    format = "sh"
    shell = "sh"

    def read(self, text: bytes) -> dict[str, str]:
        shell = needed(self.shell)
        file = Path(self.mktemp())
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
        argv = [shell, "-c", f". {file.absolute()}; exec /usr/bin/env -0"]
        done = subprocess.run(argv, env={"HOME": "/h"}, capture_output=True, check=True, timeout=60)
        pairs = (os.fsdecode(pair).partition("=") for pair in done.stdout.split(b"\0") if pair)
        own = {"HOME", "PWD", "SHLVL", "_", "OLDPWD", "PATH", "USER", "LOGNAME", "LC_CTYPE"}
        return {name: value for name, _, value in pairs if name not in own}

    def test_values(self) -> None:
        self.check(VALUES)

    def test_names(self) -> None:
        """Names that are none to a shell would be commands."""
        self.check({"A-B": "", "a.b": "", "1A": "", "A;id": "", "A$(id)": "", "A": "x"}, "A-B", "a.b", "1A", "A;id", "A$(id)")

    def test_many(self) -> None:
        """Random ones, of which one shell run tries many."""
        values: dict[str, str] = {}

        @given(st.dictionaries(NAMES, TEXTS, max_size=20))
        def collect(more: dict[str, str]) -> None:
            if len(values) < 400:
                values.update({f"{name}{len(values)}": value for name, value in more.items()})

        collect()
        self.check(values)


class DashTests(ShTests):
    shell = "dash"


class ZshTests(ShTests):
    shell = "zsh"

    def test_values(self) -> None:
        """But for those of the terminal, which are the shell's own."""
        self.check({name: value for name, value in VALUES.items() if name not in ("LINES", "COLUMNS")})


class BashTests(ShTests):
    shell = "bash"


class FishTests(ShTests):
    """fish reads its configuration as UTF-8, and passes other bytes on."""

    shell = "fish"
    format = "fish"


class DotenvTests(FormatCase):
    format = "dotenv"

    def read(self, text: bytes) -> dict[str, str]:
        stream = io.StringIO(text.decode("utf-8", "surrogateescape"), newline="")
        found = dotenv_values(stream=stream, interpolate=False)
        return {name: value for name, value in found.items() if value is not None}

    def test_values(self) -> None:
        self.check(VALUES, "LAST")

    @given(st.dictionaries(NAMES, TEXTS, max_size=5))
    def test_any(self, values: dict[str, str]) -> None:
        self.check(values, *(name for name, value in values.items() if value.endswith("\\")))

    def test_our_own(self) -> None:
        """What --env-file reads."""
        from rtunnel.podenv.sources import read_dotenv

        values = {name: value for name, value in VALUES.items() if name not in ("LATIN", "LAST")}
        file = Path(self.mktemp())
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(write("dotenv", values))
        self.assertEqual(read_dotenv(str(file)), values)

    def test_the_plain_way(self) -> None:
        """Single quotes where they can be, which all parsers read as they are."""
        self.assertEqual(write("dotenv", {"A": '$B \\n "x"\nb'}), b"A='$B \\n \"x\"\nb'\n")


class DockerTests(FormatCase):
    """docker's own rules (docker/cli opts/file.go): a line is a variable, taken as it is."""

    format = "docker"

    def read(self, text: bytes) -> dict[str, str]:
        found = {}
        for line in re.split(rb"\r?\n", text):
            self.assertLess(len(line), DOCKER_LINE)
            name, equals, value = line.lstrip(b" \t").partition(b"=")
            if not name or name.startswith(b"#"):
                continue
            self.assertTrue(equals)
            self.assertNotRegex(name, rb"\s")
            found[os.fsdecode(name)] = os.fsdecode(value)
        return found

    def test_values(self) -> None:
        """Several lines cannot be, and very long ones cannot be either."""
        self.check(VALUES, "LINES", "RETURNS", "KEY", "LARGE")


class ComposeTests(FormatCase):
    format = "compose"

    def read(self, text: bytes) -> dict[str, str]:
        values = yaml.safe_load(text)["environment"]
        # what compose replaces: $$ is $, and nothing else is left
        self.assertFalse([value for value in values.values() if re.search(r"(?<!\$)(?:\$\$)*\$(?!\$)", value)])
        return {name: value.replace("$$", "$") for name, value in values.items()}

    def test_values(self) -> None:
        self.check(VALUES, "LATIN")

    @given(st.dictionaries(NAMES, TEXTS, max_size=5))
    def test_any(self, values: dict[str, str]) -> None:
        self.check(values)


class JsonTests(FormatCase):
    format = "json"

    def read(self, text: bytes) -> dict[str, str]:
        found: dict[str, str] = json.loads(text)
        return found

    def test_values(self) -> None:
        self.check({**VALUES, "any=name": "x"})


class SystemdTests(FormatCase):
    """systemd's own parser of environment files, in its shared library."""

    format = "systemd"

    def read(self, text: bytes) -> dict[str, str]:
        libraries = glob("/usr/lib/*/systemd/libsystemd-shared-*.so") + glob("/usr/lib/systemd/libsystemd-shared-*.so")
        if not libraries:
            needed("systemd-analyze")
            raise SkipTest("systemd's library is not where it was expected")
        library, libc = ctypes.CDLL(libraries[0]), ctypes.CDLL(None)
        file = Path(self.mktemp())
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
        libc.fopen.restype = ctypes.c_void_p
        stream = libc.fopen(os.fsencode(file), b"re")
        found = ctypes.POINTER(ctypes.c_char_p)()
        library.load_env_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        self.assertGreaterEqual(library.load_env_file(stream, os.fsencode(file), ctypes.byref(found)), 0)
        pairs: list[str] = []
        while (pair := found[len(pairs)]) is not None:
            pairs.append(os.fsdecode(pair))
        return {name: value for name, _, value in (one.partition("=") for one in pairs)}

    def test_values(self) -> None:
        self.check({name: value for name, value in VALUES.items() if name != "LATIN"}, "RETURNS")


class QuotedTests(SynchronousTestCase):
    """Formats whose programs are not here: what their manuals say."""

    def test_powershell(self) -> None:
        """Inside single quotes only these are special, curly ones as well."""
        self.assertEqual(write("powershell", {"A": "it's $x `n\n\u2019"}), "${env:A} = 'it''s $x `n\n\u2019\u2019'\n".encode())

    def test_cmd(self) -> None:
        self.assertEqual(write("cmd", {"A": "50% & more"}), b'set "A=50%% & more"\n')
        for value in ("a\nb", 'a"b'):
            self.assertIn("cannot hold A", str(self.assertRaises(UnfitError, write, "cmd", {"A": value})))


class AllFormatsTests(SynchronousTestCase):
    def test_nothing(self) -> None:
        lines = [name for name in FORMATS if name not in ("json", "compose")]
        self.assertEqual([write(name, {}) for name in lines], [b""] * len(lines))

    def test_hostile_names(self) -> None:
        """No format writes a name that could be more than one."""
        for name in ("A\nB", "A B", 'A"', "A'", "$(id)"):
            for one in FORMATS:
                if one != "json":
                    error = self.assertRaises(UnfitError, write, one, {name: "x"})
                    self.assertTrue(str(error).isprintable())
