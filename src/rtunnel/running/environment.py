"""The environment of a command: that of this machine, with the variables of a pod, and with what leads to what it reaches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from rtunnel.podenv.merging import Merged
from rtunnel.podenv.variables import Variable
from rtunnel.settings import Address

__all__ = ["LOCAL", "PROXY_VARIABLES", "MovedFiles", "applied", "moved", "proxied", "without_local"]

LOCAL = frozenset(("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "TMPDIR", "LANG", "TERM"))
"""What no pod decides, even where it is asked to."""
PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")
_NO_PROXY = "localhost,127.0.0.1,::1"
_JAVA = "JAVA_TOOL_OPTIONS"


def without_local(variables: Iterable[Variable]) -> list[Variable]:
    """The variables of a pod without those that no pod decides."""
    return [variable for variable in variables if variable.name not in LOCAL]


def applied(local: Mapping[str, str], merged: Iterable[Merged]) -> dict[str, str]:
    """The environment of this machine with merged variables.

    :param local: of this machine.
    :param merged: with values; those without one stay as they are, or are removed where that is asked for.
    """
    environ = dict(local)
    for one in merged:
        if one.value is not None:
            environ[one.name] = one.value
        elif one.sources == ("--unset",):
            environ.pop(one.name, None)
    return environ


@frozen
class MovedFiles:
    """Files that are not at the paths where the pod has them.

    :ivar root: the folder below which they have them.
    :ivar paths: of the volumes, in the pod.
    """

    root: str
    paths: tuple[str, ...]

    def value(self, value: str) -> str:
        """A value with the path where the file is here, if it is the path of a file of the pod."""
        if any(value == path or value.startswith(f"{path}/") for path in self.paths):
            return self.root + value
        return value


def moved(environ: Mapping[str, str], names: Iterable[str], files: MovedFiles) -> dict[str, str]:
    """An environment whose variables lead to where the files are here.

    :param names: of the variables that may be changed.
    """
    return {**environ, **{name: files.value(environ[name]) for name in names if name in environ}}


def proxied(environ: Mapping[str, str], proxy: Address) -> dict[str, str]:
    """An environment in which programs use a proxy, as far as they let themselves be told so.

    :param proxy: of HTTP, on loopback.
    """
    url = f"http://{proxy}"
    java = (
        f"-Dhttp.proxyHost={proxy.host} -Dhttp.proxyPort={proxy.port} -Dhttps.proxyHost={proxy.host} "
        f"-Dhttps.proxyPort={proxy.port} -Dhttp.nonProxyHosts=localhost|127.*|[::1]"
    )
    return {
        **environ,
        **dict.fromkeys(PROXY_VARIABLES, url),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), _NO_PROXY),
        "NODE_USE_ENV_PROXY": "1",
        _JAVA: f"{environ[_JAVA]} {java}" if environ.get(_JAVA) else java,
    }
