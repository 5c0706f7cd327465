"""``rtunnel inject``: adds the sidecar to Kubernetes manifests, and leads their host to the server."""

from __future__ import annotations

import argparse
import re
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import attrs

from rtunnel import __version__
from rtunnel.auth.passwords import hash_password
from rtunnel.cli import kubectl
from rtunnel.cli.arguments import Parser
from rtunnel.cli.exit_status import ExitStatus
from rtunnel.ids import is_id
from rtunnel.inject.context import Context
from rtunnel.inject.injection import InjectError, Outcome, Wanted, inject
from rtunnel.inject.patch import patches
from rtunnel.inject.server_manifests import SERVER, Access, User
from rtunnel.options import kinds
from rtunnel.podenv.private_file import write_private

__all__ = ["main", "make_parser", "read_manifests", "show"]

_EPILOG = """\
Manifests in, manifests out: nothing here talks to the cluster, unless --apply has kubectl do so. A host's Ingress or
HTTPRoute names its Services, and these name the pods that get the sidecar. Comments, order and all other lines stay as
they are. A server and the Secret with the tunnel's ID are added where the input has none. What was done is told on
stderr; the exit status is 0, or 1 when there was nothing to do.

examples:
  kubectl get deploy,svc,ing -n shop -o yaml | rtunnel inject - --host shop.example.org | kubectl apply -f -
  kubectl get deploy,svc,ing,secret -n shop -o yaml | rtunnel inject - --host api.example.org --apply
  kubectl get deploy,svc,ing -n shop -o yaml | rtunnel inject - --host shop.example.org --user alice \\
      --context env,files --reach 'postgres:5432' --apply
  rtunnel inject shop.yaml --host shop.example.org --port 8080 --image registry.example.org/rtunnel:0.1.0 > with.yaml
  rtunnel inject -k overlay/ --host shop.example.org --patch --resources rtunnel.yaml > patch.yaml
  rtunnel uninject with.yaml > shop.yaml
"""
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", re.ASCII)
_SIDECARS = "pod"
"""The user as which the sidecars join."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    _check(parser, arguments)
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
        context=Context(
            env="env" in arguments.context,
            env_allow_secret=arguments.env_allow_secret or "",
            files="files" in arguments.context,
            reach=arguments.reach or "",
        ),
    )
    try:
        text = kubectl.build(arguments.kustomize) if arguments.kustomize else read_manifests(arguments.file)
        outcome = inject(text, _with_users(wanted, arguments.user))
        if arguments.patch:
            outcome = _as_patches(text, outcome, arguments.resources)
        return show(outcome, apply=arguments.apply)
    except InjectError as error:
        print(f"rtunnel inject: {error}", file=sys.stderr)
        return ExitStatus.FAILED


def make_parser() -> Parser:
    """Its arguments."""
    parser = Parser("inject", description="Adds the sidecar to the pods of a host.", epilog=_EPILOG)
    parser.add_argument("file", metavar="FILE", nargs="?", help='manifests, YAML or JSON; "-" for stdin')
    parser.add_argument("-k", "--kustomize", metavar="FOLDER", help="manifests that kustomize makes of a folder")
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
    parser.add_argument(
        "--context",
        type=_context,
        default=(),
        metavar="env,files",
        help="what developers may get of the pod: the application's environment, and the files of its ConfigMaps and Secrets",
    )
    parser.add_argument(
        "--env-allow-secret",
        type=_as(kinds.NAME_PATTERNS),
        metavar="NAME[,...]",
        help="variables whose values they may get although they come from Secrets; * is any text",
    )
    parser.add_argument("--reach", type=_as(kinds.REACH), metavar="HOST:PORT[,...]", help="what they may connect to from the pod")
    parser.add_argument(
        "--user",
        type=_user,
        action="append",
        default=[],
        metavar="NAME",
        help="who may join a new server; without it the tunnel's ID is enough; repeatable",
    )
    parser.add_argument("--patch", action="store_true", help="write patches for kustomize instead of whole manifests")
    parser.add_argument("--resources", metavar="FILE", help="with --patch: where the manifests of a new server are written")
    parser.add_argument("--apply", action="store_true", help='give the result to "kubectl apply" instead of writing it')
    return parser


def _check(parser: Parser, arguments: argparse.Namespace) -> None:
    """End the command if its arguments do not fit each other."""
    if (arguments.file is None) == (arguments.kustomize is None):
        parser.error('name a FILE, "-" for stdin, or a folder with -k')
    if arguments.tunnel and not is_id(arguments.tunnel):
        parser.error("--tunnel: not a UUID; write it like 10bc451e-59dc-4c70-999e-91a30813ac78, or leave it out")
    if arguments.env_allow_secret and "env" not in arguments.context:
        parser.error("--env-allow-secret needs the environment itself; add --context env")
    if arguments.patch and arguments.apply:
        parser.error("--patch and --apply exclude each other: kustomize applies patches")
    if arguments.resources and not arguments.patch:
        parser.error("--resources is for --patch; without it the server is in the output")


def _context(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    if not set(parts) <= {"env", "files"}:
        raise argparse.ArgumentTypeError(f'"{text}" is not env, files or env,files')
    return parts


def _as(kind: kinds.Kind) -> Callable[[str], str]:
    """The text of an option of the sidecar, if the sidecar would take it."""

    def check(text: str) -> str:
        try:
            kind.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return check


def _user(text: str) -> str:
    if not _USER.fullmatch(text) or text == _SIDECARS:
        raise argparse.ArgumentTypeError(f'"{text}" is no name of a user: letters, digits and . _ - only, and not {_SIDECARS}')
    return text


def _with_users(wanted: Wanted, names: Sequence[str]) -> Wanted:
    """The same with users, who get passwords."""
    if not names:
        return wanted
    sidecars, *developers = (_new_user(name) for name in (_SIDECARS, *dict.fromkeys(names)))
    return attrs.evolve(wanted, access=Access(sidecars, tuple(developers), wanted.context.rights))


def _new_user(name: str) -> User:
    password = secrets.token_urlsafe(24)
    return User(name, password, hash_password(password).text)


def _as_patches(before: str, outcome: Outcome, resources: str | None) -> Outcome:
    """The same as patches; the manifests of a new server, which no patch can add, go to a file.

    :raises InjectError: no file is named, or it cannot be written.
    """
    if outcome.added and resources is None:
        raise InjectError(
            "a patch adds no resources, and a server is needed: name a file for its manifests with --resources, and that file "
            "under resources: of the kustomization"
        )
    if outcome.added and resources is not None:
        try:
            write_private(resources, "---\n".join(outcome.added).encode())
        except OSError as error:
            raise InjectError(f'"{resources}" cannot be written: {error.strerror or error}') from None
    return attrs.evolve(outcome, text="---\n".join(patches(before, outcome.text)))


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


def show(outcome: Outcome, *, apply: bool = False) -> int:
    """Tell on stderr what was done, and print the manifests on stdout; returns the exit status.

    :param apply: give them to kubectl instead.
    """
    for report in outcome.reports:
        print(report, file=sys.stderr)
    if apply:
        return ExitStatus.FAILED if kubectl.apply(outcome.text) else ExitStatus.OK
    sys.stdout.write(outcome.text)
    return ExitStatus.OK
