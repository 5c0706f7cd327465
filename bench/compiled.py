"""The work tree with its compiled modules (``build_backend.py``): what rtunnel's systems run where they can be built.

``python -m bench.compiled`` builds it, if anything has changed, for ``make compiled``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from bench.proc import BenchError
from build_backend import missing

__all__ = ["tree"]

_ROOT = Path(__file__).parent.parent
_TREE = _ROOT / ".compiled"
_SOURCES = ("src", "setup.cfg", "setup.py", "build_backend.py", "mypyc.toml")


@cache
def tree() -> Path:
    """The folder with the packages; built when anything of the work tree is newer, which takes most of a minute.

    Without a C compiler and Python's headers it is that of the sources: rtunnel runs interpreted, as it would be installed there.

    :raises BenchError: when it should be possible to build it, and is not; it takes the extra ``bench``.
    """
    reason = missing()
    if reason is not None:
        print(f"rtunnel's modules are measured interpreted: {reason}", file=sys.stderr)
        return _ROOT / "src"
    # no other Python can import what one has compiled
    made = _TREE / f".made-{sys.implementation.cache_tag}"
    newest = max(path.stat().st_mtime for name in _SOURCES for path in _files(_ROOT / name))
    if not made.exists() or made.stat().st_mtime < newest:
        print("compiling rtunnel's modules, which takes a minute", file=sys.stderr)
        for built in (_TREE, _ROOT / "build"):
            shutil.rmtree(built, ignore_errors=True)
        argv = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(_TREE)]
        environment = os.environ | {"RTUNNEL_COMPILE": "1"}
        done = subprocess.run(argv, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"rtunnel's modules cannot be compiled: {(done.stderr or done.stdout).strip()[-500:]}")
        made.touch()
    return _TREE


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*.py") if file.is_file()]


if __name__ == "__main__":
    try:
        tree()
    except BenchError as error:
        sys.exit(str(error))
