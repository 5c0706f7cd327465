"""``rtunnel files``: files of a host's pod: a list, one of them, or a copy that follows them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from twisted.logger import Logger

from rtunnel.asking.arguments import ServerParser
from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.ops.start import StartError
from rtunnel.podenv.private_file import write_private
from rtunnel.podfiles.volumes import Volume
from rtunnel.wire.control import clean

if TYPE_CHECKING:
    from rtunnel.client.pod.link import PodLinkClient

__all__ = ["main", "make_parser", "sync"]

_EXAMPLES = """\
  rtunnel files shop.example.org --config client.yaml                              names and sizes
  rtunnel files shop.example.org --config client.yaml get /config/app.yaml
  rtunnel files shop.example.org --config client.yaml sync ./pod --follow          ./pod/config/app.yaml, until Ctrl-C
"""
WIDTH = 160
"""Columns of the list where no terminal says how many it has."""

_log = Logger()


async def main(argv: Sequence[str], reactor: Any) -> int:
    """List, print or copy; returns the exit status."""
    parser = make_parser()
    arguments, settings = parser.parse(argv, os.environ)
    if arguments.action != "list" and not arguments.where:
        parser.error(f"PATH: say {'which file' if arguments.action == 'get' else 'where the copy is to be'}")
    # late, so that --help need not wait for the WebSocket library
    from rtunnel.client.pod.asking import PodAskFailed, over_link
    from rtunnel.client.pod.link import PodLinkClient

    link = PodLinkClient(settings, arguments.host, reactor=reactor)
    work = {
        "list": partial(_list, path=arguments.where),
        "get": partial(_get, path=arguments.where, output=arguments.output),
        "sync": partial(sync, folder=Path(arguments.where), follow=arguments.follow),
    }
    try:
        await over_link(link, reactor, work[arguments.action])
    except (PodAskFailed, StartError) as error:
        raise CommandError(str(error)) from None
    return ExitStatus.OK


def make_parser() -> ServerParser:
    """Its arguments."""
    parser = ServerParser(
        "files",
        description="Lists files of a host's pod that the client there gives out (--files), gets one, or keeps a copy of them.",
        examples=_EXAMPLES,
    )
    parser.add_argument("host", metavar="HOST", help="whose pod: one of the hosts of the server's rules")
    parser.add_argument("action", nargs="?", choices=("list", "get", "sync"), default="list", help="what to do (default: list)")
    parser.add_argument(
        "where", nargs="?", default="", metavar="PATH", help="list and get: of the pod; sync: the folder of the copy"
    )
    parser.add_argument("--output", "-o", metavar="FILE", help="get: write the file, readable by its user only")
    parser.add_argument("--follow", action="store_true", help="sync: bring the copy up to date whenever files change")
    return parser


async def _list(link: PodLinkClient, path: str) -> None:
    from rtunnel.client.pod.asking import ask_files

    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("path", "size", "mode"):
        table.add_column(column, overflow="fold")
    for volume in await ask_files(link, path, contents=False):
        for row in _rows(volume):
            table.add_row(*(Text(clean(text, 1000)) for text in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(table if table.rows else "there are no files")


def _rows(volume: Volume) -> Iterable[tuple[str, str, str]]:
    for file in volume.files:
        yield f"{volume.path}/{file.path}", str(file.size), f"{file.mode:04o}"
    for path in volume.left_out:
        yield f"{volume.path}/{path}", "-", "left out: a link, too large, or no file"


async def _get(link: PodLinkClient, path: str, output: str | None) -> None:
    from rtunnel.client.pod.asking import ask_files

    files = [
        (f"{volume.path}/{file.path}", file.content)
        for volume in await ask_files(link, path, contents=True)
        for file in volume.files
    ]
    content = dict(files).get(path)
    if content is None:
        raise CommandError(f"{clean(path)} is no file but a folder; name one of its files, or copy all of it with sync")
    if output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        write_private(output, content)
    except OSError as error:
        raise CommandError(f"{output}: cannot be written: {error.strerror or error}") from None


async def sync(link: PodLinkClient, folder: Path, follow: bool) -> None:
    """Make a copy, and bring it up to date until it is cancelled.

    :param link: to the server; it is up.
    :param follow: whether to go on.
    :raises PodAskFailed: the files are not to be had.
    :raises CommandError: the copy cannot be written.
    """
    from rtunnel.client.pod.copies import CopyFailed, FileCopy

    copy = FileCopy(link, folder, partial(_say_copied, folder))
    try:
        await copy.make()
        if follow:
            await copy.follow()
    except CopyFailed as error:
        raise CommandError(str(error)) from None


def _say_copied(folder: Path, volumes: list[Volume]) -> None:
    for volume in volumes:
        _log.info("{count} files of {path} are in {folder}", count=len(volume.files), path=volume.path, folder=str(folder))
        if volume.left_out:
            left_out = ", ".join(map(clean, volume.left_out[:20]))
            _log.warn("left out of {path}, as links, too large, or no files: {names}", path=volume.path, names=left_out)
