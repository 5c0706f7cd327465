"""``rtunnel probe``: sends a request through an entrypoint, hop by hop, and says which one fails."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.cli.hops import Hop, Route, travel
from rtunnel.profiles.profile import load_profile
from rtunnel.profiles.store import ProfileStore
from rtunnel.settings import SettingsError

__all__ = ["main", "make_parser"]

_EPILOG = """\
A GET is sent as a visitor would send it, with "Rtunnel-Explain: 1". The hops are: the name, the connection, TLS, what answers
first (an Ingress, or the entrypoint), the rule for the host, the tunnel's client, and its target.

examples:
  rtunnel probe https://shop.example.org/
  rtunnel probe shop                            of a profile
  rtunnel probe http://127.0.0.1:8080/ --header 'Host: shop.example.org' --header 'X-User: alice'

The exit status is 0 when the target answered, 2 when the entrypoint was reached and the request came no further, and 1
when it did not come so far, or an argument is wrong.
"""


def main(argv: Sequence[str]) -> int:
    """Send one request and print its hops; returns the exit status."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    try:
        store = ProfileStore(os.environ)
        profile = load_profile(store, arguments.url, "URL") if arguments.url in store else None
    except SettingsError as error:
        raise CommandError(str(error)) from None
    ca_file = None
    if profile is not None:
        arguments.url, ca_file = profile.url, profile.ca_file
    try:
        url = urlsplit(arguments.url)
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError as error:
        parser.error(f"URL: {error}")
    if url.scheme not in ("http", "https") or not url.hostname:
        parser.error(f'URL: "{arguments.url}" is not an http:// or https:// URL')
    fields = {}
    for field in arguments.header:
        name, colon, value = field.partition(":")
        if not colon or not name.strip().isascii() or not field.isprintable():
            parser.error("--header: write 'NAME: VALUE'")
        fields[name.strip()] = value.strip()
    if profile is not None and url.hostname != profile.host:
        fields.setdefault("Host", profile.host)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    route = Route(url.hostname, port, url.scheme == "https", target, fields, arguments.timeout, ca_file)
    # late: it is part of the server
    from rtunnel.server.entrypoint.answers import explanation_in

    hops = travel(route, explanation_in)
    if arguments.json:
        print(json.dumps([{"hop": hop.name, "ok": hop.ok, "text": hop.text} for hop in hops], indent=2))
    else:
        for hop in hops:
            print(f"{hop.name:<11}{'ok' if hop.ok else 'FAILED':<8}{hop.text}")
    return _exit_status(hops)


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("probe", description="Sends a request through an entrypoint, and says which hop fails.", epilog=_EPILOG)
    parser.add_argument("url", metavar="URL", help="as a visitor writes it: https://HOST/PATH; or the name of a profile")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header field; repeatable")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="for each hop (default: 10)")
    parser.add_argument("--json", action="store_true", help="print the hops as JSON")
    return parser


def _exit_status(hops: Sequence[Hop]) -> int:
    if all(hop.ok for hop in hops):
        return ExitStatus.OK
    return ExitStatus.NOT_READY if any(hop.name == "entrypoint" and hop.ok for hop in hops) else ExitStatus.FAILED
