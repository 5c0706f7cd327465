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
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger

from rtunnel.cli.exit_status import CommandError, ExitStatus
from rtunnel.client.pod.asking import STOP_TIMEOUT, PodAskFailed, ask_environment, ask_reach
from rtunnel.client.pod.copies import CopyFailed
from rtunnel.client.pod.link import PodLinkClient, PodLinkFailed, PodLinkForbidden
from rtunnel.client.wake import SleepWatch
from rtunnel.isolation.names import hosts_file, nsswitch_file
from rtunnel.isolation.supervisor import NOT_EXECUTABLE
from rtunnel.isolation.tiers import Tier, Wish, first_choice
from rtunnel.ops.start import StartError
from rtunnel.podenv.merging import Choice, merge
from rtunnel.podenv.rewriting import rewrite
from rtunnel.podenv.variables import Variable
from rtunnel.podfiles.copying import path_in
from rtunnel.routing.reach_list import ReachList
from rtunnel.running.copying import CommandFiles
from rtunnel.running.environment import PROXY_VARIABLES, MovedFiles, applied, moved, proxied, without_local
from rtunnel.running.isolating import Isolated, isolate, tiers_to_try
from rtunnel.running.placing import place
from rtunnel.running.publishing import PublishedPorts
from rtunnel.running.reaching import CommandReach, destinations, first_permitted_port, unlisted
from rtunnel.running.signals import CommandSignals
from rtunnel.running.state import RunFolder
from rtunnel.running.supervising import SupervisorError
from rtunnel.settings import Address, LocalForward, ServerConnectionSettings

__all__ = ["FILES_AUTO", "FILES_OFF", "RunPlan", "RunSession"]

FILES_AUTO = "auto"
FILES_OFF = "off"

NSCD = ("/run/nscd", "/var/run/nscd")
"""Where the cache of the system for names has its socket."""
RESTART_PATIENCE = 10.0
"""Seconds in which a command must have ended that is to be started again; then it is killed."""

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
    :ivar publish: ports of the command that other programs of this machine reach from the start, where it has a network of its own;
        others are there as soon as the command listens at them.
    :ivar restart_on_change: whether the command is started again when files have changed.
    :ivar session: which session the command is for, if one is.
    :ivar without_pod: whether the command is run also where the server allows nothing with the pod.
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
    without_pod: bool = False
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
        self._files: CommandFiles | None = None
        self._elsewhere: tuple[str, ...] = ()
        self._isolated: Isolated | None = None
        self._published: PublishedPorts | None = None
        self._restart: Any = None

    # -- life

    async def start(self) -> None:
        """Bring everything up.

        :raises CommandError: that is not possible; :meth:`stop` takes down what is there.
        """
        try:
            self._folder = RunFolder(self._local)
            await self._bring_up(self._folder)
        except (PodLinkFailed, PodAskFailed, StartError, CopyFailed) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{error.filename or 'a private folder'}: {error.strerror or error}") from None

    async def _bring_up(self, folder: RunFolder) -> None:
        """Connect, and have all that the pod gives; or nothing of it, where that will do."""
        try:
            await self.link.start()
        except PodLinkForbidden as error:
            if not self._plan.without_pod:
                raise
            self._log.warn("nothing of the pod for the command: {reason}", reason=str(error))
            self._isolated = await isolate([Tier.NONE], self._reactor)
            self.environ = self._compose([], ReachList(()))
        else:
            await self._start(folder)

    async def _start(self, folder: RunFolder) -> None:
        self._sleep.start()
        variables, listed, _ = await _all(
            self._ask("environment", ask_environment(self.link, values=True), []),
            self._ask("services", ask_reach(self.link), ReachList(())),
            self._copy(folder),
        )
        found = destinations(listed, self._plan.forwards)
        first_port = first_permitted_port()
        first = first_choice(self._plan.isolate, (one.port for one in found), first_port)
        self._isolated = isolated = await isolate(tiers_to_try(self._plan.isolate, first), self._reactor)
        self.tier = isolated.tier
        self.reach = CommandReach(self.link, isolated, first_port, self._reactor)
        proxied = any(self._local.get(name) for name in PROXY_VARIABLES)
        await self.reach.open(found, self._plan.forwards, self._plan.proxy, proxied=proxied)
        if self.tier is not Tier.NONE:
            await self._mount(folder, isolated, self.reach)
        if self.tier is Tier.NET:
            self._publish(isolated, self.reach)
        self.environ = self._compose(variables, listed)
        self._say(listed)

    async def run(self, argv: Sequence[str]) -> int:
        """Run the command until it ends, with our terminal, standard input and output; our signals are passed on to it.

        :returns: its exit status; 128 and the number of the signal that killed it.
        :raises CommandError: it cannot be started.
        """
        assert self._isolated is not None
        with CommandSignals(self.signal, self._reactor).received():
            while True:
                try:
                    status = await self._isolated.supervising.run(argv, self.environ, self._plan.output)
                except SupervisorError as error:
                    found = error.errno != errno.ENOENT
                    text = f"{argv[0]}: {error.step if not found else os.strerror(error.errno)}"
                    raise CommandError(text, NOT_EXECUTABLE if found else ExitStatus.NOT_FOUND) from None
                if not self._forget_restart():
                    return status

    def signal(self, number: int) -> None:
        """Send a signal to the command, if it runs; it is not started again then."""
        self._forget_restart()
        if self._isolated is not None:
            self._isolated.supervising.signal(number)

    def _changed(self) -> None:
        """Files have changed: end the command, to start it again, where that is wanted."""
        if self._plan.restart_on_change and self._isolated is not None and self._isolated.supervising.running:
            supervising = self._isolated.supervising
            self._forget_restart()
            self._restart = self._reactor.callLater(RESTART_PATIENCE, supervising.signal, signal.SIGKILL)
            supervising.signal(signal.SIGTERM)

    def _forget_restart(self) -> bool:
        """Whether the command was to be started again; it is not any more."""
        timer, self._restart = self._restart, None
        if timer is not None and timer.active():
            timer.cancel()
        return timer is not None

    async def stop(self) -> None:
        """Take everything down; what the command has started ends, and nothing stays on this machine."""
        self._sleep.stop()
        self._forget_restart()
        if self._files is not None:
            self._files.stop()
        try:
            if self._isolated is not None:
                await self._isolated.supervising.close()
            for ports in (self._published, self.reach):
                if ports is not None:
                    await ports.close()
            with suppress(defer.TimeoutError):
                await self.link.stop().addTimeout(STOP_TIMEOUT, self._reactor)
        finally:
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

    async def _copy(self, folder: RunFolder) -> None:
        """Copy the files, if they are wanted.

        :raises CopyFailed: they cannot be written.
        """
        if self._plan.files != FILES_OFF:
            where = folder.path / "files" if self._plan.files == FILES_AUTO else Path(self._plan.files).absolute()
            self._files = CommandFiles(self.link, where, self._changed)
            await self._ask("files", self._files.make(), None)

    # -- what the command gets

    async def _mount(self, folder: RunFolder, isolated: Isolated, reach: CommandReach) -> None:
        """Have names and files where the command looks for them.

        :raises CommandError: the system does not allow it.
        """
        binds = [(_file(folder.path / "hosts", hosts_file(_text("/etc/hosts"), reach.names)), "/etc/hosts")]
        if os.path.exists("/etc/nsswitch.conf"):
            text = nsswitch_file(_text("/etc/nsswitch.conf"))
            binds.append((_file(folder.path / "nsswitch.conf", text), "/etc/nsswitch.conf"))
        # glibc asks nscd before it reads either file, if there is one
        binds += [(str(folder.folder("empty")), path) for path in set(map(os.path.realpath, NSCD)) if os.path.isdir(path)]
        if self._files is not None:
            binds += [(str(path_in(self._files.folder, path)), path) for path in self._place(self._files)]
        try:
            await isolated.supervising.mount(binds, folder.folder("mounts"))
        except SupervisorError as error:
            raise CommandError(f"names and files cannot be put in place for the command: {error}; use --isolate none") from None

    def _place(self, files: CommandFiles) -> tuple[str, ...]:
        """The volumes that are at their paths; of the others a line says why not."""
        own = (os.path.realpath(os.path.expanduser("~")), os.getcwd())
        places = place(files.paths, own=own, allowed=self._plan.cover)
        self._elsewhere = tuple(places.elsewhere)
        if places.elsewhere:
            reasons = ", ".join(f"{path} ({reason})" for path, reason in places.elsewhere.items())
            hint = "--cover PATH has one at its path nevertheless"
            self._log.info("files are below {folder} only: {reasons}; {hint}", folder=str(files.folder), reasons=reasons, hint=hint)
        return places.exact

    def _publish(self, isolated: Isolated, reach: CommandReach) -> None:
        ours = [*(forward.listen for forward in reach.forwards), *([reach.proxy] if reach.proxy else [])]
        self._published = PublishedPorts(isolated.supervising, self._reactor, ours)
        self._published.start(self._plan.publish)

    def _compose(self, variables: Iterable[Variable], listed: ReachList) -> dict[str, str]:
        """The environment of the command."""
        merged = merge(without_local(variables), self._plan.choice, self._local)
        if self.tier is Tier.NONE and self.reach is not None:
            merged = rewrite(merged, self.reach.local_addresses(listed))
        environ = applied(self._local, merged)
        root = ""
        if self._files is not None and self._files.paths:
            root = str(self._files.folder)
            elsewhere = self._files.paths if self.tier is Tier.NONE else self._elsewhere
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
        if self.tier is Tier.NET and self._plan.isolate is Wish.AUTO:
            why = "a service has a port below 1024, so the command has a network of its own"
            hint = "it reaches others by the proxy only; --isolate names leaves such ports out"
            self._log.info("{why}: {hint}", why=why, hint=hint)
        if reach.names:
            names = ", ".join(sorted(names[0] for names in reach.names.values()))
            self._log.info("these names resolve for the command: {names}", names=names)
        elif reach.forwards:
            self._log.info("ports: {forwards}", forwards=", ".join(map(str, reach.forwards)))
        rest = unlisted(listed)
        if rest and reach.proxy is None:
            self._log.info("{rules} cannot be listed; use --proxy or --forward for them", rules=", ".join(rest))


async def _all(*questions: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of some questions that are asked at once.

    :raises Exception: the first one that fails; the others are given up.
    """
    asked = [Deferred.fromCoroutine(question) for question in questions]
    try:
        return await gatherResults(asked, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
    finally:
        for question in asked:
            question.cancel()


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
