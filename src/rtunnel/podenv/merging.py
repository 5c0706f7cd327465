"""What a program on the laptop gets: variables of the pod, of a file, of the command line, and its own, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from rtunnel.podenv.rules import matches
from rtunnel.podenv.variables import Variable
from rtunnel.routing.globs import Glob

__all__ = ["Choice", "Merged", "merge"]


@frozen
class Choice:
    """What is wanted of a pod's variables, and beside them.

    :ivar include: those of the pod that are taken.
    :ivar exclude: those that are not.
    :ivar rename: new names of those of the pod, by their names.
    :ivar file: the variables of a file.
    :ivar sets: variables that are set, whatever others say.
    :ivar unset: names that no one gets.
    :ivar local_wins: whether a variable that is there already stays.
    """

    include: tuple[Glob, ...] = (Glob("*"),)
    exclude: tuple[Glob, ...] = ()
    rename: Mapping[str, str] = field(factory=dict)
    file: Mapping[str, str] = field(factory=dict, repr=False)
    sets: Mapping[str, str] = field(factory=dict, repr=False)
    unset: frozenset[str] = frozenset()
    local_wins: bool = False


@frozen
class Merged:
    """One variable, and where it could have come from.

    :ivar name: of the variable.
    :ivar value: that it gets; None if it gets none from us: it stays what it is.
    :ivar sources: all that have it, the one that wins first.
    :ivar secret: whether the value is one of a Secret, or may be.
    :ivar of_pod: whether the value is that of the pod.
    :ivar replaced: what was replaced in the value, for people.
    """

    name: str
    value: str | None = field(repr=False)
    sources: tuple[str, ...]
    secret: bool = False
    of_pod: bool = False
    replaced: tuple[str, ...] = ()


def merge(pod: Iterable[Variable], choice: Choice, local: Mapping[str, str]) -> list[Merged]:
    """Merge variables; in the order of their names.

    The command line is before the file, the file before the pod, the pod before what is there already.

    :param pod: of the pod; those without a value are left out.
    :param local: those that are there already.
    """
    taken = {
        choice.rename.get(one.name, one.name): one
        for one in pod
        if one.value is not None
        and matches(choice.include, one)
        and not any(pattern.matches(one.name) for pattern in choice.exclude)
    }
    names = sorted({*choice.sets, *choice.file, *taken} - choice.unset)
    return [_merged(name, taken.get(name), choice, name in local) for name in names] + [
        Merged(name, None, ("--unset",)) for name in sorted(choice.unset)
    ]


def _merged(name: str, pod: Variable | None, choice: Choice, is_local: bool) -> Merged:
    found: list[tuple[str, str | None]] = []
    of_pod = ""
    if name in choice.sets:
        found.append(("--set", choice.sets[name]))
    if name in choice.file:
        found.append(("--env-file", choice.file[name]))
    if pod is not None:
        of_pod = f"the pod ({pod.source})" if pod.name == name else f"the pod ({pod.source}, as {pod.name})"
        found.append((of_pod, pod.value))
    if is_local:
        found.insert(len(found) - (pod is not None and choice.local_wins), ("this machine", None))
    first, value = found[0]
    is_pod = pod is not None and first == of_pod
    return Merged(name, value, tuple(source for source, _ in found), pod is not None and is_pod and pod.is_secret, is_pod)
