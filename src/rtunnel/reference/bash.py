"""Completion for bash, 3.2 or later: where the function offers nothing, bash completes names of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rtunnel.reference.describing import Argument, Completes, Description

__all__ = ["bash_completion"]

_HEAD = r"""# bash completion of rtunnel: source <(rtunnel completion bash)

_rtunnel_profiles() {
    local file
    for file in "${XDG_CONFIG_HOME:-$HOME/.config}"/rtunnel/profiles/*.yaml; do
        file=${file##*/}
        file=${file%.yaml}
        # only what can be the name of a profile: compgen would expand anything else
        [[ $file == *[!A-Za-z0-9_-]* ]] || printf '%s\n' "$file"
    done
}

_rtunnel() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command='' values='' at
    # --option=value comes as three words
    if [[ $current == = ]]; then
        current=''
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD-2]}
    fi
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            --reactor) ((at++)) ;;
            -*) ;;
            *) command=${COMP_WORDS[at]}; break ;;
        esac
    done
    for ((at++; at < COMP_CWORD; at++)); do
        # what follows is another program
        [[ ${COMP_WORDS[at]} == -- ]] && return
    done
    COMPREPLY=()
"""
_TAIL = r"""    local IFS=$' \t\n'
    COMPREPLY=($(compgen -W "$values" -- "$current"))
}

complete -o bashdefault -o default -F _rtunnel rtunnel
"""


def bash_completion(descriptions: Iterable[Description]) -> str:
    """The script.

    :param descriptions: of all commands.
    """
    descriptions = list(descriptions)
    names = " ".join(("--help", "--version", "--reactor", *(one.name for one in descriptions)))
    lines = ["    case $command in", f'        "") [[ $before == --reactor ]] || values="{names}" ;;']
    for one in descriptions:
        lines += [f"        {one.name})", "            case $before in", *_cases(one), "            esac ;;"]
    return _HEAD + "\n".join(lines) + "\n    esac\n" + _TAIL


def _cases(description: Description) -> Iterator[str]:
    """What is offered behind each option of a command, and elsewhere."""
    with_value = [argument for argument in description.options if argument.metavar]
    for argument in with_value:
        if _offered(argument):
            yield f'                {"|".join(argument.flags)}) values="{_offered(argument)}" ;;'
    others = [flag for argument in with_value if not _offered(argument) for flag in argument.flags]
    if others:
        yield f"                {'|'.join(others)}) ;;"
    flags = " ".join(flag for argument in description.options for flag in argument.flags)
    words = " ".join(filter(None, map(_offered, description.words)))
    yield f'                *) values="{words}"; [[ $current != -* ]] || values="{flags}" ;;'


def _offered(argument: Argument) -> str:
    """What stands between double quotes; nothing where names of files are completed."""
    return "$(_rtunnel_profiles)" if argument.completes is Completes.PROFILE else " ".join(argument.choices)
