"""What this machine allows: of the system, of its environment, of the profiles."""

from __future__ import annotations

import os
import platform
import socket
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import rtunnel
from rtunnel.compilation import how_it_runs
from rtunnel.doctor.findings import Finding, failed, limited, ok
from rtunnel.isolation.tiers import ReadSetting, first_unprivileged_port, read_setting, why_refused
from rtunnel.options.environment import misspelt
from rtunnel.profiles.profile import load_profile
from rtunnel.profiles.store import ProfileStore
from rtunnel.settings import SettingsError

__all__ = ["look_at_machine", "namespaces"]

_LIBRARIES = ("Twisted", "autobahn", "pyOpenSSL")
_PROXIES = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
OLDEST = (3, 11)
"""The oldest Python."""
LOOPBACK = "127.77.0.1"
"""One of the addresses that hosts of a cluster get."""


def look_at_machine(environ: Mapping[str, str], read: ReadSetting = read_setting) -> Iterator[Finding]:
    """Everything that needs neither reactor nor network."""
    yield _versions()
    yield _loopback()
    yield _low_ports(read)
    yield _runtime_folder(environ)
    yield _proxies(environ)
    yield from _variables(environ)
    yield _profiles(environ)


def _versions() -> Finding:
    found = f"rtunnel {rtunnel.__version__}, Python {platform.python_version()}, {', '.join(map(_version, _LIBRARIES))}"
    if sys.version_info < OLDEST:
        return failed("versions", found, f"rtunnel needs Python {'.'.join(map(str, OLDEST))} or later")
    return ok("versions", f"{found}, {platform.system()} {platform.machine()}, {how_it_runs()}")


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} ?"


# -- the system


async def namespaces(reactor: Any, system: str = sys.platform, read: ReadSetting = read_setting) -> Finding:
    """Whether a command gets names and a network of its own: asks the system for them, as ``rtunnel run`` does.

    :param system: as :data:`sys.platform`.
    """
    name = "isolation"
    if system != "linux":
        hint = "use what --isolate none gives: variables and forwards"
        return limited(name, "names of the cluster for a command alone need Linux", hint)
    # late, for systems without what they need
    from rtunnel.running.supervising import Supervising, SupervisorError

    allowed = []
    for tier, network in (("names", False), ("net", True)):
        supervising = Supervising(reactor)
        supervising.start()
        try:
            await supervising.isolate(network=network)
            allowed.append(tier)
        except SupervisorError as error:
            hint = f"{why_refused(error.errno, read)}; without it, a command gets variables and forwards"
            return limited(name, f"not allowed for {tier}: {error}", hint)
        finally:
            supervising.close()
    return ok(name, f"a command can have names and a network of its own: --isolate {' and '.join(allowed)}")


def _loopback() -> Finding:
    name = "loopback"
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, 0))
        except OSError as error:
            hint = "forwards get ports of 127.0.0.1; on macOS: sudo ifconfig lo0 alias 127.77.0.1"
            return limited(name, f"no address of 127.77.0.0/16 is available: {error.strerror}", hint)
    return ok(name, "127.77.0.0/16 is available for hosts of the cluster")


def _low_ports(read: ReadSetting) -> Finding:
    name = "low ports"
    first = first_unprivileged_port(read)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return ok(name, "this is root, which may listen at any port")
    if first <= 80:
        return ok(name, f"everybody may listen at ports from {first} on")
    return limited(name, f"ports below {first} are for root", "--isolate net has them all; a --forward gets another local port")


def _runtime_folder(environ: Mapping[str, str]) -> Finding:
    name = "runtime folder"
    path = environ.get("XDG_RUNTIME_DIR", "")
    if not hasattr(os, "geteuid"):
        return ok(name, "not needed on this system")
    if not os.path.isabs(path):
        hint = "a login session sets it; without it, rtunnel uses ~/.local/state/rtunnel"
        return limited(name, "XDG_RUNTIME_DIR is not set, so what has to be private for a while is not in memory", hint)
    try:
        status = os.stat(path)
    except OSError as error:
        return limited(name, f"XDG_RUNTIME_DIR={path}: {error.strerror}", "log in anew, or unset it")
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        return limited(name, f"XDG_RUNTIME_DIR={path} is open to others, or of somebody else", f"chmod 700 {path}, or unset it")
    return ok(name, f"{path} is there, for this user alone")


# -- the environment


def _proxies(environ: Mapping[str, str]) -> Finding:
    name = "proxies"
    found = [variable for usual in _PROXIES for variable in (usual, usual.upper()) if environ.get(variable, "").strip()]
    if not found:
        return ok(name, "no variable names one")
    shown = ", ".join(found)
    if not any(variable.lower() == "no_proxy" for variable in found):
        hint = "set NO_PROXY=localhost,127.0.0.0/8, or local requests go to the proxy, too"
        return limited(name, f"set: {shown}; NO_PROXY is not", hint)
    return ok(name, f"set: {shown}; the server is reached through them, unless NO_PROXY names it")


def _variables(environ: Mapping[str, str]) -> Iterable[Finding]:
    name = "variables"
    wrong = list(misspelt(environ))
    if wrong:
        return [limited(name, "; ".join(wrong))]
    ours = sorted(variable for variable in environ if variable.startswith("RTUNNEL_"))
    return [ok(name, f"set: {', '.join(ours)}; they override profiles and files" if ours else "none of RTUNNEL_... is set")]


def _profiles(environ: Mapping[str, str]) -> Finding:
    name = "profiles"
    store = ProfileStore(environ)
    wrong = []
    for one in store.names():
        try:
            load_profile(store, one, "profile")
        except SettingsError as error:
            wrong.append(str(error))
    if wrong:
        return failed(name, "; ".join(wrong))
    return ok(name, ", ".join(store.names()) or "there are none; rtunnel login makes one of an invitation")
