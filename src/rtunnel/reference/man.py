"""Manual pages, in the macros of man(7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

import attrs

import rtunnel
from rtunnel.reference.describing import OPTIONS, Argument, Description

__all__ = ["main_page", "page"]

DATE: Final = "2026-11-29"
"""Of the pages: they change with the options, and say nothing of a version."""
_HOME = "~/.config/rtunnel/profiles"
_EXIT_STATUS = "The exit status"
_EXAMPLES = ("examples:", "example:")


# -- pages


def page(description: Description) -> str:
    """The page of a command."""
    name = f"rtunnel-{description.name}"
    text = [
        *_head(name, description.summary),
        _macro("SH", "SYNOPSIS"),
        *_synopsis(description),
        _macro("SH", "DESCRIPTION"),
        *_blocks(description.text),
    ]
    if description.words:
        text += [_macro("SH", "ARGUMENTS"), *(line for word in description.words for line in _argument(word))]
    text += [_macro("SH", "OPTIONS"), *_options(description)]
    notes = _Notes.of(description.notes)
    for title, lines in (("NOTES", notes.others), ("EXIT STATUS", notes.exit_status), ("EXAMPLES", notes.examples)):
        if lines:
            text += [_macro("SH", title), *_blocks("\n".join(lines))]
    if description.variables:
        text += [_macro("SH", "ENVIRONMENT"), _VARIABLES]
        text += [line for variable, what in description.variables for line in _tagged(_bold(variable), what)]
    return "\n".join([*text, _macro("SH", "SEE ALSO"), ".BR rtunnel (1)"]) + "\n"


_VARIABLES = """\
Each option is also an environment variable: \\fB\\-\\-path\\fR for example is \\fBRTUNNEL_PATH\\fR, lists have commas.
The command line wins.
From the environment only:"""


def main_page(descriptions: Iterable[Description]) -> str:
    """The page of ``rtunnel`` itself.

    :param descriptions: of all commands.
    """
    descriptions = list(descriptions)
    text = [
        *_head("rtunnel", "reverse-proxy tunnel: brings requests for a service in a cluster to a laptop"),
        _macro("SH", "SYNOPSIS"),
        ".B rtunnel",
        "[\\fB\\-\\-reactor\\fR \\fINAME\\fR] \\fICOMMAND\\fR [\\fIoptions\\fR]",
        _macro("SH", "DESCRIPTION"),
        *_blocks(_DESCRIPTION),
        _macro("SH", "COMMANDS"),
        *(line for one in descriptions for line in _tagged(f"\\fBrtunnel\\-{_flag(one.name)}\\fR(1)", one.summary)),
        _macro("SH", "OPTIONS"),
        *(line for flag, metavar, what in _GLOBAL for line in _argument(Argument((flag,), metavar, what))),
        _macro("SH", "ENVIRONMENT"),
        *(line for variable, what in _ENVIRONMENT for line in _tagged(_bold(variable), what)),
        _macro("SH", "FILES"),
        *(line for file, what in _FILES for line in _tagged(f"\\fI{_flag(file)}\\fR", what)),
        _macro("SH", "SEE ALSO"),
    ]
    names = [f".BR rtunnel\\-{_flag(one.name)} (1)," for one in descriptions]
    return "\n".join([*text, *names[:-1], names[-1].removesuffix(",")]) + "\n"


_DESCRIPTION = """\
Brings the requests for a service in a cluster to a laptop, all or a share of them, or those that match a filter, through the
ordinary Ingress. A server beside the service accepts clients and visitors; a client in the pod and clients on laptops join
a tunnel of it; each request goes to one of them.

On a laptop, "rtunnel login" keeps what an invitation says as a profile; its name then stands for a host and the way to its
server. "rtunnel doctor" says what the laptop allows, "rtunnel demo" plays everything on one machine.
"""
_GLOBAL = (
    ("--help", "", "show the commands; each has its own: rtunnel server --help"),
    ("--version", "", "show the version"),
    ("--reactor", "NAME", "the Twisted reactor to run on; must stand before the command (default: rtunnel where there is epoll)"),
)
_ENVIRONMENT = (
    ("RTUNNEL_REACTOR", "as --reactor"),
    ("RTUNNEL_...", "each option of server, client and visitor, as their pages say"),
    ("XDG_CONFIG_HOME", "where the folder rtunnel with profiles is, in place of ~/.config"),
    ("XDG_RUNTIME_DIR", "where processes can be asked by rtunnel status, and where files of a pod are kept while they are used"),
    ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY", "proxies on the way to the server"),
)
_FILES = (
    (f"{_HOME}/NAME.yaml", "a profile, for its user alone"),
    ("rtunnel.dev.yaml", "what rtunnel dev does, in the folder of a project"),
)


# -- parts


def _head(name: str, summary: str) -> Iterator[str]:
    yield '.\\" Made of the parsers and the table of options: make man'
    yield f'.TH {_flag(name.upper())} 1 {DATE} "rtunnel" "rtunnel"'
    # neither words nor options are divided
    yield from (".ad l", ".nh")
    yield _macro("SH", "NAME")
    yield f"{_flag(name)} \\- {_prose(summary)}"


def _synopsis(description: Description) -> Iterator[str]:
    if description.usage:
        yield from (".nf", *map(_code, description.usage.splitlines()), ".fi")
        return
    yield f".B rtunnel {_flag(description.name)}"
    yield " ".join(("[\\fIoptions\\fR]", *map(_word, description.words)))


def _word(word: Argument) -> str:
    shown = f"\\fI{_flag(word.metavar)}\\fR"
    return f"[{shown}]" if word.optional else shown


def _options(description: Description) -> Iterator[str]:
    for section in description.sections:
        if section.title != OPTIONS:
            yield _macro("SS", section.title)
        for argument in section.arguments:
            yield from _argument(argument)


def _argument(argument: Argument) -> Iterator[str]:
    metavar = f"\\fI{_flag(argument.metavar)}\\fR" if argument.metavar else ""
    names = ", ".join(map(_bold, argument.flags))
    return _tagged(f"{names} {metavar}".strip(), argument.help)


def _tagged(tag: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield tag
    yield from _lines(text)


# -- texts


@attrs.frozen
class _Notes:
    """The end of a help, by what it is about."""

    others: list[str]
    exit_status: list[str]
    examples: list[str]

    @classmethod
    def of(cls, text: str) -> _Notes:
        notes = cls([], [], [])
        current = notes.others
        for line in text.splitlines():
            if line in _EXAMPLES:
                current = notes.examples
            elif line.startswith(_EXIT_STATUS):
                current = notes.exit_status
                current.append(line)
            elif line and not line.startswith(" ") and current is notes.examples:
                current = notes.others
                current += ["", line]
            else:
                current.append(line)
        for lines in (notes.others, notes.exit_status, notes.examples):
            while lines and not lines[0]:
                del lines[0]
            while lines and not lines[-1]:
                del lines[-1]
        return notes


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs that are filled, and lines that are indented as they are."""
    first = True
    # a word that goes on in the first column of the next line
    text = re.sub(r"\\\n(?=\S)", "", text)
    for (indented, empty), lines in groupby(text.splitlines(), lambda line: (line.startswith("  "), not line.strip())):
        if empty:
            continue
        if indented:
            yield from (".RS 4", ".nf", *(_code(line[2:]) for line in lines), ".fi", ".RE")
        else:
            if not first:
                yield ".PP"
            yield from _lines(" ".join(lines))
        first = False


def _lines(text: str) -> Iterator[str]:
    """Prose, a sentence on a line."""
    yield from re.split(r"(?<=[a-z)][.:]) +(?=[A-Z])", _prose(text))


def _macro(name: str, title: str) -> str:
    return f'.{name} "{_prose(title)}"' if " " in title else f".{name} {_prose(title)}"


def _prose(text: str) -> str:
    """A text in which nothing is a request or an escape; the version of this rtunnel is not in it."""
    text = " ".join(text.replace(rtunnel.__version__, "VERSION").split())
    text = text.replace("\\", "\\e").replace("--", "\\-\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _code(line: str) -> str:
    """A line as it is typed."""
    line = line.rstrip().replace(rtunnel.__version__, "VERSION").replace("\\", "\\e").replace("-", "\\-")
    line = line.replace("~", "\\(ti").replace("^", "\\(ha").replace("'", "\\(aq").replace("`", "\\(ga")
    return f"\\&{line}" if line.startswith(".") else line


def _flag(text: str) -> str:
    return _code(text)


def _bold(text: str) -> str:
    return f"\\fB{_flag(text)}\\fR"
