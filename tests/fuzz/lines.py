"""Which lines the inputs of targets run: ``python -m tests.fuzz.lines FOLDER TARGET...`` prints a line for each module.

:param FOLDER: has a folder of further inputs for each target, besides its corpus.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import coverage


def main() -> None:
    """Run all inputs, with coverage from before the first import."""
    folder, *names = sys.argv[1:]
    measured = coverage.Coverage(data_file=None, source_pkgs=["rtunnel"])
    measured.start()
    from tests.fuzz.table import TARGETS

    targets = [TARGETS[name] for name in names]
    for target in targets:
        for path in (*target.folder.iterdir(), *(Path(folder) / target.name).glob("*")):
            target.run(path.read_bytes())
    measured.stop()
    for module in sorted({module for target in targets for module in target.covers}):
        spec = find_spec(module)
        assert spec is not None and spec.origin is not None
        _, statements, _, missing, text = measured.analysis2(spec.origin)
        print(f"{module.removeprefix('rtunnel.'):<24}{len(statements) - len(missing):>5} of{len(statements):>4}  {text}")


if __name__ == "__main__":
    main()
