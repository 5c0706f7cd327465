"""``rtunnel inject``: adds the sidecar to Kubernetes manifests, and leads their host to the server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from rtunnel import __version__
from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.ids import is_id
from rtunnel.inject.injection import InjectError, Outcome, Wanted, inject
from rtunnel.inject.server_manifests import SERVER

__all__ = ["main", "make_parser", "read_manifests", "show"]

_EPILOG = """\
Manifests in, manifests out: nothing here talks to the cluster. A host's Ingress or HTTPRoute names its Services,
and these name the pods that get the sidecar. Comments, order and all other lines stay as they are. A server and
the Secret with the tunnel's ID are added where the input has none. What was done is told on stderr; the exit
status is 0, or 1 when there was nothing to do.

examples:
  kubectl get deploy,svc,ing -n shop -o yaml | rtunnel inject - --host shop.example.org | kubectl apply -f -
  kubectl get deploy,svc,ing,secret -n shop -o yaml | rtunnel inject - --host api.example.org | kubectl apply -f -
  rtunnel inject shop.yaml --host shop.example.org --port 8080 --image registry.example.org/rtunnel:0.1.0 > with.yaml
  rtunnel uninject with.yaml > shop.yaml
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.tunnel and not is_id(arguments.tunnel):
        parser.error("--tunnel: not a UUID; write it like 10bc451e-59dc-4c70-999e-91a30813ac78, or leave it out")
    wanted = Wanted(
        host=arguments.host.lower(),
        port=arguments.port,
        service=arguments.service,
        workload=arguments.workload,
        container=arguments.container,
        image=arguments.image,
        server=arguments.server,
        native=not arguments.classic,
        tunnel=UUID(arguments.tunnel) if arguments.tunnel else None,
        trusted=tuple(arguments.trusted_proxy),
    )
    try:
        return show(inject(read_manifests(arguments.file), wanted))
    except InjectError as error:
        print(f"rtunnel inject: {error}", file=sys.stderr)
        return ExitStatus.FAILED


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("inject", description="Adds the sidecar to the pods of a host.", epilog=_EPILOG)
    parser.add_argument("file", metavar="FILE", help='manifests, YAML or JSON; "-" for stdin')
    parser.add_argument("--host", required=True, help="the host whose requests the pods serve")
    parser.add_argument("--port", default="", help="port of the application in the pod (default: where the Service leads)")
    parser.add_argument("--service", default="", metavar="NAME", help="which Service, if the host leads to several")
    parser.add_argument("--workload", default="", metavar="KIND/NAME", help="the only one to change, e.g. deployment/shop")
    parser.add_argument("--container", default="", metavar="NAME", help="the application's (default: the one with the port)")
    parser.add_argument("--image", default=f"rtunnel:{__version__}", help="image of rtunnel (default: %(default)s)")
    parser.add_argument("--server", default=SERVER, metavar="NAME", help="name of the server's Service (default: %(default)s)")
    parser.add_argument("--classic", action="store_true", help="an ordinary container, for Kubernetes before 1.29")
    parser.add_argument("--tunnel", default="", metavar="UUID", help="ID of a new tunnel (default: a random one)")
    parser.add_argument(
        "--trusted-proxy", action="append", default=[], metavar="CIDR", help="network of the Ingress (default: private ones)"
    )
    return parser


def read_manifests(file: str) -> str:
    """The text of a file, or of stdin.

    :raises InjectError: it cannot be read.
    """
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise InjectError(f'"{file}" cannot be read: {error.strerror or error}') from None
    except UnicodeDecodeError:
        raise InjectError(f'"{file}" is not UTF-8') from None


def show(outcome: Outcome) -> int:
    """Print manifests on stdout, and what was done on stderr; returns the exit status."""
    for report in outcome.reports:
        print(report, file=sys.stderr)
    sys.stdout.write(outcome.text)
    return ExitStatus.OK
