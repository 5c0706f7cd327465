"""Completion for zsh: sourced, or as a file ``_rtunnel`` in a folder of ``fpath``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from rtunnel.reference.describing import Argument, Completes, Description

__all__ = ["zsh_completion"]

_HEAD = r"""#compdef rtunnel
# zsh completion of rtunnel: source <(rtunnel completion zsh)

_rtunnel_profiles() {
    local -a names
    names=(${XDG_CONFIG_HOME:-$HOME/.config}/rtunnel/profiles/*.yaml(N:t:r))
    compadd -a names
}

_rtunnel() {
    local context state state_descr line
    typeset -A opt_args
    local -a commands
    commands=(
"""
_MIDDLE = r"""    )
    _arguments -C \
        '--help[show the help]' \
        '--version[show the version]' \
        '--reactor[the Twisted reactor to run on]:NAME:' \
        '1:command:->command' \
        '*::argument:->argument'
    case $state in
    command) _describe -t commands command commands ;;
    argument)
        case $words[1] in
"""
_TAIL = r"""        esac ;;
    esac
}

if [[ $funcstack[1] == _rtunnel ]]; then
    _rtunnel "$@"
else
    compdef _rtunnel rtunnel
fi
"""
_WIDTH = 90


def zsh_completion(descriptions: Iterable[Description]) -> str:
    """The script.

    :param descriptions: of all commands.
    """
    descriptions = list(descriptions)
    commands = [f"        {_quoted(one.name + ':' + one.summary.replace(':', chr(92) + ':'))}" for one in descriptions]
    cases = [line for one in descriptions for line in _case(one)]
    return _HEAD + "\n".join(commands) + "\n" + _MIDDLE + "\n".join(cases) + "\n" + _TAIL


def _case(description: Description) -> Iterator[str]:
    yield f"        {description.name})"
    yield "            _arguments \\"
    specs = [spec for argument in description.options for spec in _options(argument)]
    specs += [_word(number, word) for number, word in enumerate(description.words, 1)]
    for spec in specs[:-1]:
        yield f"                {spec} \\"
    yield f"                {specs[-1]} ;;"


def _options(argument: Argument) -> Iterator[str]:
    """A specification for each name of an option."""
    again = "*" if argument.repeatable else ""
    value = f":{_plain(argument.metavar)}:{_action(argument)}" if argument.metavar else ""
    text = textwrap.shorten(argument.help, _WIDTH, placeholder="...")
    for flag in argument.flags:
        equals = "=" if value and flag.startswith("--") else ""
        yield _quoted(f"{again}{flag}{equals}[{_plain(text)}]{value}")


def _word(number: int, word: Argument) -> str:
    place = "*:" if word.repeatable else f"{number}:{':' if word.optional else ''}"
    return _quoted(f"{place}{_plain(word.metavar)}:{_action(word)}")


def _action(argument: Argument) -> str:
    if argument.completes is Completes.FILE:
        return "_files"
    if argument.completes is Completes.PROFILE:
        return "_rtunnel_profiles"
    return f"({' '.join(argument.choices)})" if argument.choices else " "


def _plain(text: str) -> str:
    """A text in which nothing is syntax of ``_arguments``."""
    for character in "\\[]:":
        text = text.replace(character, f"\\{character}")
    return text


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
