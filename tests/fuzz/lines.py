"""Which lines a target's inputs run: ``python -m tests.fuzz.lines TARGET FOLDER...`` prints how many and the others."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import coverage


def main() -> None:
    """Run all inputs, with coverage from before the first import."""
    name, *folders = sys.argv[1:]
    measured = coverage.Coverage(data_file=None, source_pkgs=["rtunnel"])
    measured.start()
    from tests.fuzz.table import TARGETS

    target = TARGETS[name]
    for folder in (target.folder, *map(Path, folders)):
        for path in folder.iterdir():
            target.run(path.read_bytes())
    measured.stop()
    ran = total = 0
    missed = []
    for module in target.covers:
        spec = find_spec(module)
        assert spec is not None and spec.origin is not None
        _, statements, _, missing, text = measured.analysis2(spec.origin)
        total += len(statements)
        ran += len(statements) - len(missing)
        missed.append(f"{module.rpartition('.')[2]}: {text}" if missing else "")
    print(f"{ran}/{total}", "; ".join(filter(None, missed)))


if __name__ == "__main__":
    main()
