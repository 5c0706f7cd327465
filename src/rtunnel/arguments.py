"""The command lines of the commands that end by themselves."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from rtunnel.ids import mask_ids

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """Wrong arguments end with status 1 and one line, as everywhere in rtunnel; the help keeps its lines."""

    def __init__(self, **words: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **words)

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {mask_ids(message.removeprefix('argument '))}; see {self.prog} --help\n")
