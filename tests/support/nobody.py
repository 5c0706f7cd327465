"""Programs of a user without any right, although tests and Python may be in folders that no other user can enter."""

from __future__ import annotations

import pwd
import stat
import sys
from pathlib import Path

from tests.support.processes import ROOT, needed

__all__ = ["as_nobody"]

_SHOWN = """\
set -e
umask 022
here=$PWD tests=$1 python=$2 closed=$3 another=$4
shift 4
exec 7<"$tests" 8<"$python"
show() {
    mkdir -p "$1"
    for entry in "/proc/self/fd/$2"/* "/proc/self/fd/$2"/.[!.]*; do
        [ -e "$entry" ] || [ -L "$entry" ] || continue
        shown=$1/${entry##*/}
        if [ -L "$entry" ]; then cp -P "$entry" "$shown"; continue; fi
        if [ -d "$entry" ]; then mkdir "$shown"; else : >"$shown"; fi
        mount --no-canonicalize --bind "$entry" "$shown"
    done
}
hidden=
for folder in "$closed" "$another"; do
    [ -z "$folder" ] || [ "$folder" = "$hidden" ] || mount -t tmpfs -o mode=755 tmpfs "$folder"
    hidden=$folder
done
[ -z "$closed" ] || show "$tests" 7
[ -z "$another" ] || show "$python" 8
cd "$here"
exec "$@" 7<&- 8<&-
"""
"""Shows two folders at the same path, below open folders in place of those that are closed: for one program alone."""


def as_nobody() -> list[str]:
    """What precedes a command line so that it runs as the user ``nobody``; only root can run it."""
    user = pwd.getpwnam("nobody")
    # what measures the coverage of the tests could not write its file
    plain = [needed("env"), *(f"--unset={name}" for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"))]
    drop = [*plain, needed("setpriv"), f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    folders = ROOT, Path(sys.base_prefix)
    closed = [_closed(folder) for folder in folders]
    if not any(closed):
        return drop
    return [needed("unshare"), "--mount", "--propagation", "private", "sh", "-c", _SHOWN, "sh", *map(str, folders), *closed, *drop]


def _closed(folder: Path) -> str:
    """The first folder on the way there that others cannot enter; empty if there is none."""
    return next((str(path) for path in (*reversed(folder.parents), folder) if not path.stat().st_mode & stat.S_IXOTH), "")
