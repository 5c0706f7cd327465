"""Programs of a user without any right, although the tests may be in a folder that no other user can enter."""

from __future__ import annotations

import pwd
import stat

from tests.support.processes import ROOT, needed

__all__ = ["as_nobody"]

_ELSEWHERE = """\
set -e
umask 022
root=$1 closed=$2 here=$PWD
shift 2
exec 9<"$root"
mount -t tmpfs -o mode=755 tmpfs "$closed"
mkdir -p "$root"
for entry in /proc/self/fd/9/* /proc/self/fd/9/.[!.]*; do
    shown=$root/${entry##*/}
    if [ -L "$entry" ]; then cp -P "$entry" "$shown"; continue; fi
    if [ -d "$entry" ]; then mkdir "$shown"; else : >"$shown"; fi
    mount --no-canonicalize --bind "$entry" "$shown"
done
cd "$here"
exec "$@" 9<&-
"""
"""Shows all that is in a folder at the same path, below a folder in whose place there is an open one: for one program alone."""


def as_nobody() -> list[str]:
    """What precedes a command line so that it runs as the user ``nobody``; only root can run it."""
    user = pwd.getpwnam("nobody")
    drop = [needed("setpriv"), f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    closed = next((path for path in (*reversed(ROOT.parents), ROOT) if not path.stat().st_mode & stat.S_IXOTH), None)
    if closed is None:
        return drop
    return [needed("unshare"), "--mount", "--propagation", "private", "sh", "-c", _ELSEWHERE, "sh", str(ROOT), str(closed), *drop]
