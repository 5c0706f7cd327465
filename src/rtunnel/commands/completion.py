"""``rtunnel completion``: the completion of a shell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.commands import COMMANDS
from rtunnel.reference.bash import bash_completion
from rtunnel.reference.describing import Description, describe
from rtunnel.reference.fish import fish_completion
from rtunnel.reference.zsh import zsh_completion

__all__ = ["main", "make_parser"]

_EPILOG = """\
Commands, options, choices and the names of profiles are completed. What is printed is for this version; source it at the start
of a shell, or keep it where the shell looks for such files.

examples:
  source <(rtunnel completion bash)                                    in ~/.bashrc
  source <(rtunnel completion zsh)                                     in ~/.zshrc, after compinit
  rtunnel completion fish > ~/.config/fish/completions/rtunnel.fish
"""
_SHELLS: dict[str, Callable[[Iterable[Description]], str]] = {
    "bash": bash_completion,
    "zsh": zsh_completion,
    "fish": fish_completion,
}


def main(argv: Sequence[str]) -> int:
    """Print the script; returns the exit status."""
    shell = make_parser().parse_args(argv).shell
    print(_SHELLS[shell](map(describe, COMMANDS)), end="")
    return ExitStatus.OK


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("completion", description="Prints what a shell needs to complete the commands of rtunnel.", epilog=_EPILOG)
    parser.add_argument("shell", choices=_SHELLS, help="for which shell")
    return parser
