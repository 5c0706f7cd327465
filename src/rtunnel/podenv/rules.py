"""Which variables of a pod are given out, and which are never taken from one, whatever a pod says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import frozen

from rtunnel.podenv.variables import Variable
from rtunnel.routing.globs import Glob

__all__ = ["EnvRules", "Patterns", "is_private", "matches", "patterns_of"]

_PRIVATE: Final = tuple(
    map(
        Glob,
        (
            # of the machine and its user
            *("PATH", "HOME", "HOMEPATH", "PWD", "OLDPWD", "SHLVL", "_", "HOSTNAME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR"),
            *("LANG", "LANGUAGE", "LC_*", "XDG_*", "SSH_*", "DISPLAY", "EDITOR", "PAGER"),
            # of its shells, loaders and tools: who sets them runs code
            *("LD_*", "DYLD_*", "BASH_*", "ENV", "ZDOTDIR", "IFS", "PS1", "PS2", "PS4", "PROMPT_COMMAND", "GIT_*", "PYTHON*"),
            *("PERL5*", "RUBYLIB", "RUBYOPT", "GEM_HOME", "GEM_PATH", "BUNDLE*", "NODE_OPTIONS", "NODE_PATH", "npm_*", "CLASSPATH"),
            *("JAVA_EXE", "JAVA_HOME", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CATALINA_HOME", "GOPATH"),
            *("GOMODCACHE", "GOFLAGS", "DOTNET_EnableDiagnostics", "DOTNET_STARTUP_HOOKS", "COR_*", "CORECLR_*", "GPG_KEY"),
            # of rtunnel and of Kubernetes
            *(
                "RTUNNEL_*",
                "KUBERNETES_*",
                "*_SERVICE_HOST",
                "*_SERVICE_PORT",
                "*_SERVICE_PORT_*",
                "*_PORT_*_TCP*",
                "*_PORT_*_UDP*",
            ),
        ),
    )
)
"""Names that are never given out, or taken over, by a pattern with ``*``."""
_LINKS: Final = ("tcp://", "udp://", "sctp://")


Patterns = tuple[Glob, ...]


def patterns_of(text: str) -> Patterns:
    """Names in a text, separated by commas; ``*`` is any text."""
    return tuple(Glob(name.strip()) for name in text.split(",") if name.strip())


def is_private(variable: Variable) -> bool:
    """Whether a variable belongs to the machine that it is on, and is given or taken only where it is named literally."""
    if any(pattern.matches(variable.name) for pattern in _PRIVATE):
        return True
    # a link of Kubernetes to a Service, and no port that somebody has configured
    return variable.name.endswith("_PORT") and (variable.value or "").startswith(_LINKS)


def matches(patterns: Iterable[Glob], variable: Variable) -> bool:
    """Whether a variable is one of some patterns; a private one only if it is named literally."""
    found = [pattern for pattern in patterns if pattern.matches(variable.name)]
    return bool(found) and (not is_private(variable) or any(len(pattern.pieces) == 1 for pattern in found))


@frozen
class EnvRules:
    """What a client gives out.

    :ivar allow: names that are given, without the value where it is one of a Secret.
    :ivar allow_secret: names whose value is given although it is one of a Secret, or may be.
    :ivar deny: names that are not even mentioned.
    """

    allow: tuple[Glob, ...]
    allow_secret: tuple[Glob, ...] = ()
    deny: tuple[Glob, ...] = ()

    def given(self, variables: Iterable[Variable], *, values: bool) -> list[Variable]:
        """What of some variables is given out, in the order of their names.

        :param values: whether values are; without, none is.
        """
        return sorted(
            (self._given(variable, values) for variable in variables if self._mentions(variable)), key=lambda given: given.name
        )

    def _mentions(self, variable: Variable) -> bool:
        if any(pattern.matches(variable.name) for pattern in self.deny):
            return False
        return matches(self.allow, variable) or matches(self.allow_secret, variable)

    def _given(self, variable: Variable, values: bool) -> Variable:
        withheld = variable.is_secret and not matches(self.allow_secret, variable)
        return Variable(variable.name, variable.value if values and not withheld else None, variable.source, withheld)
