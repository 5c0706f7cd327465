"""Completion for fish, 3 or later."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from rtunnel.reference.describing import Argument, Completes, Description

__all__ = ["fish_completion"]

_HEAD = r"""# fish completion of rtunnel: rtunnel completion fish | source

function __rtunnel_profiles
    set -l folder $HOME/.config
    set -q XDG_CONFIG_HOME; and set folder $XDG_CONFIG_HOME
    for file in $folder/rtunnel/profiles/*.yaml
        string replace -r '.*/(.*)\.yaml$' '$1' $file
    end
end

function __rtunnel_command
    set -l words (commandline -opc)
    test "$words[2]" = --reactor; and set -e words[2..3]
    for word in $words[2..-1]
        if not string match -q -- '-*' $word
            echo $word
            return
        end
    end
    echo -
end

function __rtunnel_is
    test (__rtunnel_command) = $argv[1]
end

complete -c rtunnel -f
complete -c rtunnel -n '__rtunnel_is -' -l help -d 'show the help'
complete -c rtunnel -n '__rtunnel_is -' -l version -d 'show the version'
complete -c rtunnel -n '__rtunnel_is -' -l reactor -x -d 'the Twisted reactor to run on'
"""
_WIDTH = 90


def fish_completion(descriptions: Iterable[Description]) -> str:
    """The script.

    :param descriptions: of all commands.
    """
    return _HEAD + "\n".join(line for one in descriptions for line in _lines(one)) + "\n"


def _lines(description: Description) -> Iterator[str]:
    summary = textwrap.shorten(description.summary, _WIDTH, placeholder="...")
    yield f"complete -c rtunnel -n '__rtunnel_is -' -a {description.name} -d {_quoted(summary)}"
    start = f"complete -c rtunnel -n '__rtunnel_is {description.name}'"
    for argument in description.options:
        names = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in argument.flags)
        text = textwrap.shorten(argument.help, _WIDTH, placeholder="...")
        yield f"{start} {names}{_value(argument)} -d {_quoted(text)}"
    for word in description.words:
        offered = _offered(word)
        if offered:
            yield f"{start}{offered}"


def _value(argument: Argument) -> str:
    if not argument.metavar:
        return ""
    return " -r -F" if argument.completes is Completes.FILE else f" -x{_offered(argument)}"


def _offered(argument: Argument) -> str:
    if argument.completes is Completes.FILE:
        return " -F"
    if argument.completes is Completes.PROFILE:
        return " -a '(__rtunnel_profiles)'"
    return f" -a {_quoted(' '.join(argument.choices))}" if argument.choices else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
