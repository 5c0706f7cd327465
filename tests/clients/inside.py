"""What runs under `rtunnel run`: each program in turn, with the URL of the pod and with that of the environment.

Arguments: the folder of :func:`tests.clients.catalogue.prepare`. A line of JSON for each: name, whether it got the pod's answer by
the name, and by the variable, and what it said.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.clients.catalogue import CLIENTS

ANSWERS = ("pod\n", "PONG\n", " for ")
"""What the services answer."""


def _works(argv: list[str]) -> tuple[bool, str]:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return False, "no answer in 60 s"
    return done.returncode == 0 and any(answer in done.stdout for answer in ANSWERS), (done.stdout + done.stderr)[-500:]


def main() -> None:
    """Run them."""
    folder = Path(sys.argv[1])
    for client in CLIENTS:
        by_name = client.command(folder, client.url)
        by_variable = client.command(folder, os.environ[client.variable])
        if by_name is not None and by_variable is not None:
            print(json.dumps([client.name, _works(by_name), _works(by_variable)]), flush=True)


if __name__ == "__main__":
    main()
