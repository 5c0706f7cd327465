"""Completion in real shells, as their users see it; and that every command and option is in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.cli.command import ServiceCommand
from rtunnel.commands import COMMANDS
from rtunnel.options.table import CLIENT
from rtunnel.reference.bash import bash_completion
from rtunnel.reference.describing import Completes, Description, describe
from rtunnel.reference.fish import fish_completion
from rtunnel.reference.zsh import zsh_completion
from tests.support.processes import needed

DESCRIPTIONS = tuple(map(describe, COMMANDS))

BASH = r"""
source "$1"
COMP_WORDS=("${@:2}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_rtunnel
printf '%s\n' "${COMPREPLY[@]}"
"""

# what a terminal would show, between two lines of NUL; after https://github.com/Valodim/zsh-capture-completion
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "source $1"
repeat 50; do
    zpty -r shell line
    [[ $line == ready* ]] && break
done
zpty -w shell "${(j: :)@[2,-1]}"$'\t'
integer shown=0
while zpty -r shell; do :; done | while IFS= read -r line; do
    if [[ $line == *$'\0\r' ]]; then
        (( shown++ )) && exit 0 || continue
    fi
    (( shown )) && print -r -- "${line%$'\r'}"
done
"""
ZSH_SETUP = r"""
PROMPT=
autoload -Uz compinit
compinit -D -u
bindkey '^M' undefined
bindkey '^J' undefined
bindkey '^I' complete-word
mark () { print -r -- $'\0' }
compprefuncs=( mark )
comppostfuncs=( mark exit )
zstyle ':completion:*' insert-tab false
compadd () {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then
        builtin compadd "$@"
        return
    fi
    typeset -a hits
    builtin compadd -O hits "$@"
    print -rl -- $hits
}
"""


class DescriptionTests(SynchronousTestCase):
    def find(self, name: str) -> Description:
        return next(one for one in DESCRIPTIONS if one.name == name)

    def test_services(self) -> None:
        client = self.find("client")
        flags = {flag for argument in client.options for flag in argument.flags}
        self.assertEqual({option.flag for option in CLIENT if not option.secret} - flags, set())
        self.assertNotIn("--auth", flags)
        self.assertIn(("-q"), flags)
        (role,) = (argument for argument in client.options if "--role" in argument.flags)
        self.assertEqual(role.choices, ("pod", "laptop"))
        self.assertEqual([variable for variable, _ in client.variables], ["RTUNNEL_AUTH"])

    def test_commands_that_end(self) -> None:
        files = self.find("files")
        self.assertEqual([word.metavar for word in files.words][:1], ["HOST"])
        self.assertIs(files.words[0].completes, Completes.PROFILE)
        self.assertEqual(files.words[1].choices, ("list", "get", "sync"))
        self.assertIs(self.find("explain").words[0].completes, Completes.NOTHING)
        self.assertIs(self.find("check").words[0].completes, Completes.FILE)

    def test_texts(self) -> None:
        """Nothing is left of the placeholders of argparse."""
        for one in DESCRIPTIONS:
            for argument in (*one.options, *one.words):
                self.assertTrue(argument.help, f"{one.name} {argument}")
                self.assertNotIn("%(", argument.help)


class ScriptTests(SynchronousTestCase):
    def test_everything_is_in_them(self) -> None:
        for make in (bash_completion, zsh_completion, fish_completion):
            script = make(DESCRIPTIONS)
            for command in COMMANDS:
                self.assertIn(command.name, script)
            for option in CLIENT:
                if not option.secret and len(option.name) > 1:
                    self.assertIn(option.name, script)
            self.assertFalse([one for one in COMMANDS if isinstance(one, ServiceCommand) and one.name not in script])


class ShellCase(SynchronousTestCase):
    """A folder with profiles, and a shell."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        profiles = self.folder / "config" / "rtunnel" / "profiles"
        profiles.mkdir(parents=True)
        for name in ("shop.yaml", "shop-test.yaml", "$(touch evil).yaml", "shop.ca.pem"):
            (profiles / name).touch()
        (self.folder / "some.yaml").touch()

    def script(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def run_shell(self, *argv: str) -> list[str]:
        done = subprocess.run(
            argv,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "XDG_CONFIG_HOME": str(self.folder / "config"),
                "TERM": "dumb",
            },
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.stderr, "")
        return [line for line in done.stdout.splitlines() if line]

    def check(self) -> None:
        """What each shell offers."""
        self.assertEqual(self.completed("who", "sh"), {"shop", "shop-test"})
        self.assertFalse((self.folder / "evil").exists())
        self.assertEqual(self.completed("client", "--profile", "shop-"), {"shop-test"})
        self.assertEqual(self.completed("client", "--role", ""), {"pod", "laptop"})
        self.assertGreaterEqual(self.completed("client", "--we"), {"--weight"})
        self.assertGreaterEqual(self.completed("files", "shop", "s"), {"sync"})
        self.assertEqual(self.completed("--reactor", "select", "vi"), {"visitor"})
        self.assertGreaterEqual(self.completed("re"), {"reach", "release", "renew", "revoke"})

    def completed(self, *words: str) -> set[str]:
        raise NotImplementedError


class BashTests(ShellCase):
    def completed(self, *words: str) -> set[str]:
        script = self.script("completion.bash", bash_completion(DESCRIPTIONS))
        return set(self.run_shell(needed("bash"), "--norc", "-c", BASH, "bash", script, "rtunnel", *words)) - {""}

    def test_completion(self) -> None:
        self.check()
        self.assertFalse({"shop"} & self.completed("who", "shop", "--", "sh"))

    def test_equals(self) -> None:
        self.assertEqual(self.completed("client", "--role", "=", "p"), {"pod"})
        self.assertEqual(self.completed("client", "--role", "="), {"pod", "laptop"})


class ZshTests(ShellCase):
    def completed(self, *words: str) -> set[str]:
        script = self.script("completion.zsh", zsh_completion(DESCRIPTIONS))
        setup = self.script("setup.zsh", f"{ZSH_SETUP}\nsource {script}\nprint ready\n")
        found = self.run_shell(needed("zsh"), "-f", "-c", ZSH, "zsh", setup, "rtunnel", *words)
        # a word that could also be an option comes with its "="
        return {word.removesuffix("=") for word in found}

    def test_completion(self) -> None:
        self.check()
        self.assertIn("some.yaml", self.completed("client", "--config", "so"))


class FishTests(ShellCase):
    def completed(self, *words: str) -> set[str]:
        script = self.script("completion.fish", fish_completion(DESCRIPTIONS))
        line = " ".join(("rtunnel", *words))
        found = self.run_shell(needed("fish"), "--no-config", "-c", f"source {script}; complete -C '{line}'")
        return offered(found)

    def test_completion(self) -> None:
        self.check()
        self.assertIn("some.yaml", self.completed("client", "--config", "so"))


def offered(lines: Iterable[str]) -> set[str]:
    """The words of fish's list, which have descriptions behind a tab."""
    return {line.partition("\t")[0] for line in lines}
