"""``rtunnel schema``: the JSON Schema of a configuration file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.config.layout import DEV_LAYOUT, LAYOUTS
from rtunnel.config.schema import schema

__all__ = ["main", "make_parser"]

_EPILOG = """\
The source tree has the same files: docs/server.schema.json, docs/client.schema.json,
docs/visitor.schema.json and docs/dev.schema.json.
Editors with yaml-language-server use the schema that the first line of a file names:
  # yaml-language-server: $schema=server.schema.json
"""
_LAYOUTS = {layout.role: layout for layout in (*LAYOUTS, DEV_LAYOUT)}


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    layout = _LAYOUTS[make_parser().parse_args(argv).role]
    print(json.dumps(schema(layout), indent=2, ensure_ascii=False))
    return ExitStatus.OK


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("schema", description="Prints the JSON Schema of a configuration file.", epilog=_EPILOG)
    parser.add_argument("role", choices=_LAYOUTS, help="the command that the file is for")
    return parser
