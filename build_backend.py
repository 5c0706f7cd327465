"""The build backend: setuptools, and mypyc for the modules that each request passes.

A wheel has those modules twice: as they are, and compiled to machine code by mypyc, which the interpreter prefers. It takes a C
compiler and Python's headers (``gcc`` and ``python3-dev`` of Debian); ``RTUNNEL_COMPILE`` says what happens without them:

- ``auto``, the default: the modules are compiled where that is possible; where it is not, or fails, the wheel has none of them
  compiled, and everything works, with more processor time for each request. Without a compiler nothing is said about it.
- ``1``: they are compiled, or the build fails.
- ``0``: they are not compiled, and the wheel is one for every machine.

An editable installation is never compiled: a compiled module would hide the changes to its source. docs/architecture.md says what
a module has to keep to.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from configparser import ConfigParser
from contextlib import chdir
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "MODULES",
    "build_editable",
    "build_sdist",
    "build_wheel",
    "extensions",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "missing",
    "needed_to_compile",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

MODULES = (
    "wire/http1_body",
    "wire/http1_exchange",
    "wire/http1_reader",
    "wire/http1_request",
    "wire/http1_response",
    "wire/http1_templates",
    "wire/smux",
    "wire/websocket",
    "routing/selection",
    "transport/stream_protocol",
    "tunnel/link",
    "tunnel/splice",
    "tunnel/stream",
    "ops/access",
    "server/attempt",
    "server/upstream",
    "server/peers/remote_connectors",
    "server/observers/access_log",
    "server/entrypoint/entrypoint",
    "server/entrypoint/exchange",
    "server/entrypoint/forwarding",
    "server/entrypoint/http1",
    "server/entrypoint/tls",
    "server/entrypoint/visit",
)
"""The modules that are compiled: what a request passes, and subclasses of what is there, since a compiled class has no others."""

OPTIMIZATION = "1"
"""Of the C compiler, ``-O1``: what mypyc writes runs as fast as with ``-O3``, and takes it little more than half of the time."""

_ROOT = Path(__file__).parent


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What a build needs: for compiled modules mypyc, and what rtunnel itself needs, whose types it has to know."""
    needed = list(build_meta.get_requires_for_build_wheel(config_settings))
    return [*needed, *needed_to_compile()] if _compiles() else needed


def needed_to_compile() -> list[str]:
    """What has to be installed to compile the modules: the extra ``compile``, and what rtunnel itself needs."""
    setup = ConfigParser(interpolation=None)
    setup.read(_ROOT / "setup.cfg", encoding="utf-8")
    lists = (setup["options.extras_require"]["compile"], setup["options"]["install_requires"])
    lines = [line.strip() for listed in lists for line in listed.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build a wheel; with ``auto`` one without compiled modules where they could not be compiled.

    :returns: the name of its file.
    """
    if _wanted() == "auto" and _compiles():
        try:
            return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))
        except (Exception, SystemExit) as error:
            # mypyc has told its reason, and ends with a number
            reason = "see above" if str(error).isdigit() else " ".join(str(error).split())
            print(f"rtunnel: its modules are not compiled, since that failed: {reason}", file=sys.stderr)
            os.environ["RTUNNEL_COMPILE"] = "0"
            # half of it may lie there
            shutil.rmtree(_ROOT / "build", ignore_errors=True)
    return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))


def extensions() -> list[Any]:
    """The extension modules of this build: those of :data:`MODULES`, or none."""
    if not {"bdist_wheel", "build"} & set(sys.argv) or not _compiles():
        return []
    from mypyc.build import mypycify

    options = ["--config-file", str(_ROOT / "mypyc.toml"), *(f"rtunnel/{name}.py" for name in MODULES)]
    # tracebacks name the files as mypyc got to know them: from here these are the same in each build, wherever the sources lie
    with chdir(_ROOT / "src"):
        target = str(_ROOT / "build")
        found = mypycify(options, opt_level=OPTIMIZATION, debug_level="0", group_name="rtunnel", target_dir=target)
    for extension in found:
        extension.sources = [os.path.relpath(source, _ROOT) for source in extension.sources]
        # mypyc makes errors of the warnings, and each compiler has others
        extension.extra_compile_args = [flag for flag in extension.extra_compile_args if flag != "-Werror"]
    return list(found)


def _compiles() -> bool:
    """Whether the modules are compiled."""
    wanted = _wanted()
    if wanted == "0":
        return False
    lacking = missing()
    if wanted == "1" and lacking is not None:
        raise SystemExit(f"RTUNNEL_COMPILE=1: {lacking}")
    return lacking is None


def _wanted() -> str:
    wanted = os.environ.get("RTUNNEL_COMPILE", "auto")
    if wanted not in ("auto", "0", "1"):
        raise SystemExit(f"RTUNNEL_COMPILE={wanted}: must be auto, 0 or 1")
    return wanted


def missing() -> str | None:
    """What this machine lacks to compile the modules, in a sentence with the remedy; None if nothing."""
    if sys.implementation.name != "cpython":
        return f"mypyc compiles for CPython, and this is {sys.implementation.name}"
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler {compiler} (Debian: apt-get install gcc libc6-dev)"
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return None if headers.exists() else f"there is no {headers} (Debian: apt-get install python3-dev)"
