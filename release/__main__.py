"""``python -m release``: one command for each step of a release."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from release.build import build
from release.changelog import collect
from release.commands import ReleaseError
from release.pins import lock, pin_base
from release.version import set_version

ROOT = Path(__file__).parent.parent


def main() -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("build", help="write the files of a release to dist/, from the last commit")
    one.add_argument("--base", help="the image's base, instead of the one that the Dockerfile pins")
    commands.add_parser("lock", help="take the newest versions of what the image contains, with their hashes")
    commands.add_parser("pin", help="take the newest digest of the image's base")
    commands.add_parser("changelog", help="collect newsfragments/ in CHANGELOG.md")
    one = commands.add_parser("version", help="set the version, wherever it is repeated")
    one.add_argument("version", help="such as 0.2.0")
    arguments = parser.parse_args()
    try:
        match arguments.command:
            case "build":
                build(ROOT, ROOT / "dist", arguments.base)
            case "lock":
                lock(ROOT)
            case "changelog":
                collect(ROOT)
            case "pin":
                pin_base(ROOT)
            case _:
                set_version(ROOT, arguments.version)
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
