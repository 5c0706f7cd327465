"""``rtunnel explain``: which client would get a request, and why, as a running server says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from rtunnel.cli import admin
from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.ops.logs import one_line

__all__ = ["main", "make_parser"]

VERSION = 1
"""Of the document that is understood."""

_EPILOG = """\
The server of this machine is asked; the request is not sent. To send one, see "rtunnel probe".

examples:
  rtunnel explain shop.example.org --header 'X-User: alice'
  rtunnel explain shop.example.org --cookie debug=alice --path /api/orders --method POST --json

The exit status is 0 when a client would get the request, 2 when none would, and 1 when there is no answer or an argument
is wrong.
"""


def main(argv: Sequence[str]) -> int:
    """Ask once and print the answer; returns the exit status."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    for field in arguments.header:
        if ":" not in field:
            parser.error(f"argument --header: \"{one_line(field)}\" has no colon; write 'NAME: VALUE'")
    headers = [*arguments.header, *([f"Cookie: {'; '.join(arguments.cookie)}"] if arguments.cookie else [])]
    asked = [("host", arguments.host), ("method", arguments.method), ("path", arguments.path)]
    document = _ask(
        admin.choose(arguments.admin, os.environ, None if arguments.admin else "server"),
        [*asked, *(("header", header) for header in headers)],
    )
    if arguments.json:
        print(json.dumps(document, indent=2))
    else:
        print("\n".join(map(one_line, _lines(document))))
    served = any(found["status"] is None for found in document["explanations"])
    return ExitStatus.OK if served else ExitStatus.NOT_READY


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("explain", description="Says which client would get a request, and why.", epilog=_EPILOG)
    admin.add_argument(parser, os.environ)
    parser.add_argument("host", metavar="HOST", help="the host that is requested")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header field; repeatable")
    parser.add_argument("--cookie", action="append", default=[], metavar="NAME=VALUE", help="a cookie; repeatable")
    parser.add_argument("--path", default="/", help="the path, with its query (default: /)")
    parser.add_argument("--method", default="GET", help="the method (default: GET)")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON; docs/intercepts.md describes it")
    return parser


def _ask(place: admin.Place, query: list[tuple[str, str]]) -> Any:
    document = admin.get(place, f"/explain?{urlencode(query)}")
    if document.get("explain_version") != VERSION:
        raise CommandError(f"{admin.url_of(place, '/explain')} has another version than this rtunnel reads; use the same rtunnel")
    return document


def _lines(document: dict[str, Any]) -> Iterator[str]:
    for found in document["explanations"]:
        where = f"entrypoint {', '.join(found['entrypoints'])}: {document['host']}"
        yield where + (f" -> tunnel {found['tunnel']} (rule {found['rule']})" if found["tunnel"] else "")
        if found["status"] is not None:
            yield f"  nobody, {found['status']}: {found['because']}"
        for connector in found["connectors"]:
            share = f"{100 * connector['share']:.3g} %"
            name = f"{connector['id']} {connector['holder']}".strip()
            yield f"  {share:>6}  {name}, weight {connector['weight']}: {connector['because']}"
            for wanted in connector["filters"]:
                for term in wanted["terms"]:
                    yield f"            {'matches' if term['matches'] else 'differs'}  {term['term']}"
