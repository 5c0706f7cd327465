"""``python -m tests.support.forbidding COMMAND ...``: a command that may have no namespaces, as in many containers.

By a filter of seccomp, also without root (``no_new_privs``), on x86-64 and 64-bit ARM. Sources: seccomp(2), ``linux/filter.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL = 0x7FFF0000, 0x00050000
UNSHARE = {"x86_64": 272, "aarch64": 97}


def forbid() -> None:
    """Have unshare(2) fail with EPERM from now on."""
    number = UNSHARE[os.uname().machine]
    steps = ((LOAD_WORD, 0, 0, 0), (JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, FAIL | errno.EPERM), (RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    library = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0)):
        first, *others = arguments
        if library.prctl(first, *map(ctypes.c_ulong, others)):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    forbid()
    os.execvp(sys.argv[1], sys.argv[1:])
