"""Fuzzes one target with atheris, in a process of its own: ``python -m tests.fuzz.one MODULE TARGET LIBFUZZER-ARGUMENT...``."""

from __future__ import annotations

import sys
from importlib import import_module

import atheris


def main() -> None:
    """Instrument what is tested, and run until libFuzzer's limits end the process."""
    module, name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=["rtunnel", "yaml"]):
        targets = import_module(module).TARGETS
    atheris.Setup([name, *arguments], next(target.run for target in targets if target.name == name))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
