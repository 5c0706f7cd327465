"""A command with what the pod of a host has: brought up, run, and taken down again."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from attrs import field, frozen
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.client.pod.asking import STOP_TIMEOUT, PodAskFailed, ask_environment, ask_reach
from rtunnel.client.pod.copies import CopyFailed, FileCopy
from rtunnel.client.pod.link import PodLinkClient, PodLinkFailed
from rtunnel.client.wake import SleepWatch
from rtunnel.isolation.names import hosts_file, nsswitch_file
from rtunnel.isolation.supervisor import NOT_EXECUTABLE
from rtunnel.isolation.tiers import Tier, Wish, first_choice, first_unprivileged_port
from rtunnel.ops.start import StartError
from rtunnel.podenv.merging import Choice, merge
from rtunnel.podenv.rewriting import rewrite
from rtunnel.podenv.variables import Variable
from rtunnel.podfiles.copying import path_in
from rtunnel.podfiles.volumes import Volume
from rtunnel.routing.reach_list import ReachList
from rtunnel.running.environment import PROXY_VARIABLES, MovedFiles, applied, moved, proxied, without_local
from rtunnel.running.isolating import Isolated, isolate, tiers_to_try
from rtunnel.running.placing import Places, place
from rtunnel.running.publishing import PublishedPorts
from rtunnel.running.reaching import CommandReach, destinations, unlisted
from rtunnel.running.signals import CommandSignals
from rtunnel.running.state import RunFolder
from rtunnel.running.supervising import SupervisorError
from rtunnel.settings import Address, LocalForward, ServerConnectionSettings

__all__ = ["FILES_AUTO", "FILES_OFF", "RunPlan", "RunSession"]

FILES_AUTO = "auto"
FILES_OFF = "off"

T = TypeVar("T")


@frozen
class RunPlan:
    """What a command is to get.

    :ivar choice: which variables.
    :ivar files: where the pod's files are copied to: :data:`FILES_AUTO` for a private folder, :data:`FILES_OFF` for nowhere.
    :ivar cover: paths that the pod's files may have here although something is there.
    :ivar isolate: how far the command is to be isolated.
    :ivar proxy: where the proxy is to be, if one is wanted anyway.
    :ivar forwards: ports that lead to one destination.
    :ivar publish: ports of the command that other programs of this machine reach, where it has a network of its own.
    :ivar restart_on_change: whether the command is started again when files have changed.
    :ivar session: which session the command is for, if one is.
    :ivar output: the file to which the command writes, at its end, in place of our output and error output.
    """

    choice: Choice = field(factory=Choice)
    files: str = FILES_AUTO
    cover: tuple[str, ...] = ()
    isolate: Wish = Wish.AUTO
    proxy: Address | None = None
    forwards: tuple[LocalForward, ...] = ()
    publish: tuple[int, ...] = ()
    restart_on_change: bool = False
    session: str = ""
    output: str | None = None


class RunSession:
    """One link to the pod, and what a command gets over it; owned by the command of rtunnel that runs it.

    Order of life: :meth:`start`, :meth:`run` once or several times, :meth:`stop`, in any case. Between start and stop a link that
    is lost is shown in the log, and connected again.

    :param settings: how the server is reached.
    :param host: whose pod.
    :param reactor: of sockets and processes.
    :param environ: the environment of this process.
    :param link: the link; made of the settings by default.
    :ivar link: the link to the server.
    :ivar tier: how far the command is isolated.
    :ivar environ: the environment of the command, once it is started.
    :ivar reach: its ports, once they are open.
    """

    _log = Logger()

    def __init__(
        self,
        settings: ServerConnectionSettings,
        host: str,
        plan: RunPlan,
        reactor: Any,
        *,
        environ: Mapping[str, str] = os.environ,
        link: PodLinkClient | None = None,
    ) -> None:
        self.link = link or PodLinkClient(settings, host, reactor=reactor)
        self.tier = Tier.NONE
        self.environ: dict[str, str] = {}
        self.reach: CommandReach | None = None
        self._host = host
        self._plan = plan
        self._reactor = reactor
        self._local = environ
        self._sleep = SleepWatch(self.link.woke, reactor)
        self._folder: RunFolder | None = None
        self._copy: FileCopy | None = None
        self._following: Deferred[None] | None = None
        self._volumes: tuple[str, ...] = ()
        self._moved: tuple[str, ...] = ()
        self._isolated: Isolated | None = None
        self._published: PublishedPorts | None = None
        self._restarting = False
        self._running = False

    # -- life

    async def start(self) -> None:
        """Bring everything up.

        :raises CommandError: that is not possible; :meth:`stop` takes down what is there.
        """
        try:
            self._folder = RunFolder(self._local)
            await self.link.start()
            await self._start(self._folder)
        except (PodLinkFailed, StartError, CopyFailed) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{error.filename or 'a private folder'}: {error.strerror or error}") from None

    async def _start(self, folder: RunFolder) -> None:
        self._sleep.start()
        # all are asked before the first answer is awaited
        asked, copied = Deferred.fromCoroutine(self._ask_environment()), Deferred.fromCoroutine(self._copy_files(folder))
        listed = await self._ask("services", ask_reach(self.link), ReachList(()))
        await copied
        variables = await asked
        found = destinations(listed, self._plan.forwards)
        first_port = 0 if os.geteuid() == 0 else first_unprivileged_port()
        first = first_choice(self._plan.isolate, (one.port for one in found), first_port)
        self._isolated = isolated = await isolate(tiers_to_try(self._plan.isolate, first), self._reactor)
        self.tier = isolated.tier
        self.reach = CommandReach(self.link, isolated, first_port, self._reactor)
        proxied = any(self._local.get(name) for name in PROXY_VARIABLES)
        await self.reach.open(found, self._plan.forwards, self._plan.proxy, proxied=proxied)
        if self.tier is not Tier.NONE:
            await self._mount(folder, isolated, self.reach)
        if self.tier is Tier.NET:
            self._publish(isolated)
        self.environ = self._compose(variables, listed, folder)
        self._say(listed)

    async def run(self, argv: Sequence[str]) -> int:
        """Run the command until it ends, with our terminal, standard input and output; our signals are passed on to it.

        :returns: its exit status; 128 and the number of the signal that killed it.
        :raises CommandError: it cannot be started.
        """
        assert self._isolated is not None
        with CommandSignals(self.signal, self._reactor).received():
            while True:
                self._restarting, self._running = False, True
                try:
                    status = await self._isolated.supervising.run(argv, self.environ, self._plan.output)
                except SupervisorError as error:
                    found = error.errno != errno.ENOENT
                    text = f"{argv[0]}: {error.step if not found else os.strerror(error.errno)}"
                    raise CommandError(text, NOT_EXECUTABLE if found else ExitStatus.NOT_FOUND) from None
                finally:
                    self._running = False
                if not self._restarting:
                    return status

    def signal(self, number: int) -> None:
        """Send a signal to the command, if it runs."""
        if self._isolated is not None:
            self._isolated.supervising.signal(number)

    async def stop(self) -> None:
        """Take everything down; what the command has started ends, and nothing stays on this machine."""
        self._sleep.stop()
        if self._following is not None:
            self._following.cancel()
        if self._isolated is not None:
            await self._isolated.supervising.close()
        if self._published is not None:
            await self._published.close()
        if self.reach is not None:
            await self.reach.close()
        with suppress(defer.TimeoutError):
            await self.link.stop().addTimeout(STOP_TIMEOUT, self._reactor)
        if self._folder is not None:
            self._folder.remove()

    # -- what the pod gives

    async def _ask(self, what: str, question: Coroutine[Any, Any, T], otherwise: T) -> T:
        """Ask the pod for something that it need not give."""
        try:
            return await question
        except PodAskFailed as error:
            self._log.info("no {what} of the pod: {reason}", what=what, reason=str(error))
            return otherwise

    async def _ask_environment(self) -> list[Variable]:
        return await self._ask("environment", ask_environment(self.link, values=True), [])

    async def _copy_files(self, folder: RunFolder) -> None:
        """Copy the files, and follow them from now on.

        :raises CopyFailed: they cannot be written.
        """
        if self._plan.files == FILES_OFF:
            return
        copy = FileCopy(self.link, self._files_folder(folder), self._copied)
        volumes: list[Volume] = await self._ask("files", copy.make(), [])
        self._volumes = tuple(volume.path for volume in volumes)
        if volumes:
            self._copy = copy
            self._following = Deferred.fromCoroutine(copy.follow())
            self._following.addErrback(self._not_followed)

    def _files_folder(self, folder: RunFolder) -> Path:
        return folder.path / "files" if self._plan.files == FILES_AUTO else Path(self._plan.files).absolute()

    def _copied(self, volumes: list[Volume]) -> None:
        if self._copy is None:
            return
        self._log.info("files of the pod have changed: {paths}", paths=", ".join(volume.path for volume in volumes))
        if self._plan.restart_on_change and self._running:
            self._restarting = True
            self.signal(signal.SIGTERM)

    def _not_followed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.warn("the copy of the pod's files stays as it is: {reason}", reason=failure.getErrorMessage())

    # -- what the command gets

    async def _mount(self, folder: RunFolder, isolated: Isolated, reach: CommandReach) -> None:
        """Have names and files where the command looks for them.

        :raises CommandError: the system does not allow it.
        """
        binds = [(_file(folder.path / "hosts", hosts_file(_text("/etc/hosts"), reach.names)), "/etc/hosts")]
        if os.path.exists("/etc/nsswitch.conf"):
            text = nsswitch_file(_text("/etc/nsswitch.conf"))
            binds.append((_file(folder.path / "nsswitch.conf", text), "/etc/nsswitch.conf"))
        files = self._files_folder(folder)
        places = self._places()
        binds += [(str(path_in(files, path)), path) for path in places.exact]
        try:
            await isolated.supervising.mount(binds, folder.folder("mounts"))
        except SupervisorError as error:
            raise CommandError(f"names and files cannot be put in place for the command: {error}; use --isolate none") from None
        self._moved = tuple(path for path, _ in places.elsewhere)
        for path, reason in places.elsewhere:
            hint = "--cover PATH has them at their path nevertheless"
            self._log.warn(
                "files of {path} are in {files}: {reason}; {hint}", path=path, files=str(files), reason=reason, hint=hint
            )

    def _places(self) -> Places:
        own = (os.path.realpath(os.path.expanduser("~")), os.getcwd())
        return place(self._volumes, own=own, allowed=self._plan.cover)

    def _publish(self, isolated: Isolated) -> None:
        self._published = PublishedPorts(isolated.supervising, self._reactor)
        for port in self._plan.publish:
            self._published.open(port)

    def _compose(self, variables: Iterable[Variable], listed: ReachList, folder: RunFolder) -> dict[str, str]:
        """The environment of the command."""
        merged = merge(without_local(variables), self._plan.choice, self._local)
        if self.tier is Tier.NONE and self.reach is not None:
            merged = rewrite(merged, self.reach.local_addresses(listed))
        environ = applied(self._local, merged)
        root = str(self._files_folder(folder)) if self._volumes else ""
        elsewhere = self._volumes if self.tier is Tier.NONE else self._moved
        if elsewhere:
            environ = moved(environ, [one.name for one in merged if one.of_pod], MovedFiles(root, elsewhere))
        proxy = None if self.reach is None else self.reach.proxy
        if proxy is not None:
            environ = proxied(environ, proxy)
        about = {
            "RTUNNEL_RUN_HOST": self._host,
            "RTUNNEL_RUN_SESSION": self._plan.session,
            "RTUNNEL_RUN_ROOT": root,
            "RTUNNEL_RUN_PROXY": f"http://{proxy}" if proxy else "",
        }
        return {**environ, **{name: value for name, value in about.items() if value}}

    def _say(self, listed: ReachList) -> None:
        """What the command gets, in as few lines as it takes."""
        reach = self.reach
        if reach is None:
            return
        if reach.names:
            names = ", ".join(sorted(names[0] for names in reach.names.values()))
            self._log.info("these names resolve for the command: {names}", names=names)
        elif reach.forwards:
            self._log.info("ports: {forwards}", forwards=", ".join(map(str, reach.forwards)))
        rest = unlisted(listed)
        if rest and reach.proxy is None:
            self._log.info("{rules} cannot be listed; use --proxy or --forward for them", rules=", ".join(rest))


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def _file(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    # other users read them where the command runs as one
    path.chmod(0o644)
    return str(path)
