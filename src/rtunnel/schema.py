"""``rtunnel schema``: the JSON Schema of a configuration file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rtunnel.arguments import Parser
from rtunnel.config.layout import LAYOUTS
from rtunnel.config.schema import schema

__all__ = ["main"]

_EPILOG = """\
The same is in the source tree, docs/server.schema.json and so on. An editor that speaks to yaml-language-server takes it
from the first line of a file:
  # yaml-language-server: $schema=server.schema.json
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(prog="rtunnel schema", description="Prints the JSON Schema of a configuration file.", epilog=_EPILOG)
    layouts = {layout.command: layout for layout in LAYOUTS}
    parser.add_argument("command", choices=layouts, help="whose file")
    print(json.dumps(schema(layouts[parser.parse_args(argv).command]), indent=2, ensure_ascii=False))
    return 0
