"""Manifests with the sidecar of a host's pods, its routes led to the server, and the server where there is none; and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from uuid import UUID, uuid4

import attrs
import yaml

from rtunnel.inject.context import NOTHING, Context
from rtunnel.inject.resources import Backend, Resource, Route, read_resources
from rtunnel.inject.server_manifests import PATH, SERVER, Access, Server, add_host, is_generated, is_server, server_manifests
from rtunnel.inject.sidecar import INJECTED, SECRET, Sidecar, Skipped, add_sidecar, remove_sidecar
from rtunnel.inject.traffic import ORIGINAL, restore_route, switch_route
from rtunnel.inject.yaml_text import Edits, Node, compose, find, items

__all__ = ["InjectError", "Outcome", "Report", "Wanted", "inject", "uninject"]

_WHEN = dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet"), "its pods restart") | {
    "ReplicaSet": "pods that it has stay as they are until they are deleted",
    "Job": "one that is in the cluster has to be deleted first, since its template cannot be changed",
    "CronJob": "from its next run on",
}
"""When a changed template counts, by kind."""
_MESHES = ("sidecar.istio.io/inject", "istio.io/rev", "linkerd.io/inject")


class InjectError(Exception):
    """Nothing is changed; the text says why, and what to do."""


@attrs.frozen(kw_only=True)
class Wanted:
    """What is to be injected.

    :ivar host: whose requests the pods serve.
    :ivar port: of the application, a number or a name; empty for where the Service leads.
    :ivar service: which of the Services that the host leads to; empty for all.
    :ivar workload: ``KIND/NAME`` of the only one to change; empty for all whose pods serve the host.
    :ivar container: of the application; empty for the one with the port.
    :ivar image: of rtunnel.
    :ivar server: the name of the server's Deployment and Service.
    :ivar native: whether the sidecar is an init container that goes on running.
    :ivar tunnel: the ID of a new tunnel; ``None`` for a random one.
    :ivar trusted: networks of the Ingress, for a new server; empty for all private ones.
    :ivar context: what developers may get of the pods.
    :ivar access: who may join a new server; ``None`` where the ID of a tunnel is enough.
    """

    host: str
    image: str
    port: str = ""
    service: str = ""
    workload: str = ""
    container: str = ""
    server: str = SERVER
    native: bool = True
    tunnel: UUID | None = None
    trusted: tuple[str, ...] = ()
    context: Context = NOTHING
    access: Access | None = None


@attrs.frozen
class Report:
    """What became of one resource; its text is a line for people.

    :ivar changed: whether it was changed.
    """

    resource: str
    changed: bool
    text: str

    def __str__(self) -> str:
        return f"{self.resource}: {self.text}"


@attrs.frozen
class Outcome:
    """What became of manifests.

    :ivar text: the changed text, with the documents that are new.
    :ivar reports: what became of its resources.
    :ivar added: the documents that are new.
    """

    text: str
    reports: tuple[Report, ...]
    added: tuple[str, ...] = ()


@attrs.frozen
class _Served:
    """Why the pods of a workload are to have the sidecar: a Service that leads to them, and its port."""

    service: Resource | None
    port: str


def inject(text: str, wanted: Wanted, new_id: Callable[[], UUID] = uuid4) -> Outcome:
    """Add what is wanted to some manifests.

    :param new_id: makes the ID of a new tunnel.
    :raises InjectError: nothing of it is possible.
    """
    try:
        return _inject(text, wanted, new_id)
    except yaml.YAMLError as error:
        raise InjectError(str(error)) from None


def _inject(text: str, wanted: Wanted, new_id: Callable[[], UUID]) -> Outcome:
    resources = _read(text)
    edits = Edits(text)
    routes = [route for resource in resources for route in resource.routes(wanted.host)]
    injecting = _Injecting(wanted, resources, routes, edits)
    reports = [*injecting.workloads(), *injecting.switch_routes()]
    if not injecting.any_serves:
        raise InjectError(injecting.explain(reports))
    tunnel = wanted.tunnel
    documents, more = injecting.server(new_id if tunnel is None else lambda: tunnel)
    return Outcome(_with_documents(edits.apply(), documents), (*reports, *more), tuple(documents))


def _with_documents(text: str, documents: list[str]) -> str:
    """A text with further documents behind it."""
    if documents and not text.endswith("\n"):
        text += "\n"
    if documents and text.startswith("{"):
        # kubectl takes a text that begins like JSON for nothing else
        text = f"---\n{text}"
    return text + "".join(f"---\n{document}" for document in documents)


def uninject(text: str) -> Outcome:
    """Take everything out again that :func:`inject` has put in.

    :raises InjectError: nothing was injected.
    """
    resources = _read(text)
    edits = Edits(text)
    reports: list[Report] = []
    dropped: list[Resource] = []
    for resource in resources:
        try:
            if is_generated(resource):
                dropped.append(resource)
                reports.append(Report(str(resource), True, "left out; kubectl delete removes it from the cluster"))
            elif resource.template is not None and find(resource.template, "metadata", "annotations", INJECTED) is not None:
                remove_sidecar(edits, resource)
                reports.append(Report(str(resource), True, "uninjected"))
            elif ORIGINAL in resource.annotations:
                restore_route(edits, resource)
                reports.append(Report(str(resource), True, "leads to its own Services again"))
        except Skipped as error:
            reports.append(Report(str(resource), False, f"skipped: {error}"))
    if not any(report.changed for report in reports):
        raise InjectError("nothing here was injected")
    _drop(edits, compose(text), dropped)
    return Outcome(edits.apply(), tuple(reports))


def _read(text: str) -> list[Resource]:
    try:
        resources = read_resources(compose(text))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where is not None else ""
        raise InjectError(f"not YAML{line}: {getattr(error, 'problem', None) or error}") from None
    if not resources:
        raise InjectError("no manifests; pipe some in, e.g. kubectl get deploy,svc,ing -o yaml | rtunnel inject - --host HOST")
    return resources


def _drop(edits: Edits, documents: list[Node], dropped: list[Resource]) -> None:
    """Leave resources out: documents with the line that begins them, or items of a ``List``."""
    places = {resource.node.start_mark.index for resource in dropped}
    for document in documents:
        if document.start_mark.index in places:
            edits.remove_document(document)
        listed = find(document, "items")
        found = [item for item in items(listed) if item.start_mark.index in places]
        if listed is not None:
            edits.remove_items(listed, found)


class _Injecting:
    """One run of :func:`inject`."""

    def __init__(self, wanted: Wanted, resources: list[Resource], routes: list[Route], edits: Edits) -> None:
        self._wanted = wanted
        self._resources = resources
        self._routes = routes
        self._edits = edits
        self._served: list[Resource] = []
        self.any_serves = False
        """Whether the pods of some workload serve the host, now or already before."""

    # -- pods

    def workloads(self) -> Iterator[Report]:
        """Add the sidecar where it belongs."""
        for workload in self._resources:
            if workload.template is None or is_server(workload, self._wanted.server):
                continue
            try:
                yield from self._workload(workload)
            except Skipped as error:
                yield Report(str(workload), False, f"skipped: {error}")

    def _workload(self, workload: Resource) -> Iterator[Report]:
        wanted = self._wanted
        already = find(workload.template, "metadata", "annotations", INJECTED)
        if already is not None:
            self._note_injected(workload, str(already.value))
            raise Skipped(f"serves {already.value} already; uninject it first to change that")
        served = self._why(workload)
        sidecar = Sidecar(
            host=wanted.host,
            port=served.port,
            server=wanted.server,
            image=wanted.image,
            container=wanted.container,
            native=wanted.native,
            context=wanted.context,
        )
        added = add_sidecar(self._edits, workload, sidecar)
        self.any_serves = True
        if served.service is not None:
            self._served.append(served.service)
        yield Report(str(workload), True, f"injected: serves its share of {wanted.host} at {added.target}; {_WHEN[workload.kind]}")
        yield from (Report(str(workload), False, f"note: {note}") for note in added.notes)
        yield from self._notes(workload, served.service)

    def _note_injected(self, workload: Resource, host: str) -> None:
        """A workload has the sidecar already; a route that is new may lead to it all the same."""
        self.any_serves = self.any_serves or host == self._wanted.host
        for backend in self._backends():
            self._served += [one for one in self._resources if one.name == backend.service and one.selects(workload)]

    def _why(self, workload: Resource) -> _Served:
        """Why a workload is to have the sidecar.

        :raises Skipped: it is not.
        """
        wanted = self._wanted
        if wanted.workload and wanted.workload.lower() != str(workload):
            raise Skipped("is not the one that --workload names")
        for backend in self._backends():
            for service in self._resources:
                if service.name == backend.service and service.selects(workload):
                    return _Served(service, wanted.port or service.target_port(backend.port))
        if self._routes and not wanted.workload:
            raise Skipped(f"no Service that {wanted.host} leads to has its pods")
        if not wanted.port:
            raise Skipped("no Service says which port the application has; give it with --port")
        return _Served(None, wanted.port)

    def _backends(self) -> Iterator[Backend]:
        for route in self._routes:
            for backend in route.backends:
                if self._wanted.service in ("", backend.service):
                    yield backend

    def _notes(self, workload: Resource, service: Resource | None) -> Iterator[Report]:
        if service is not None and getattr(find(service.node, "spec", "clusterIP"), "value", "") == "None":
            yield Report(str(service), False, "note: it is headless; who uses its name reaches the pods, not the laptops")
        annotations = find(workload.template, "metadata", "annotations")
        mesh = next((name for name in _MESHES if find(annotations, name) is not None), None)
        if mesh is not None:
            yield Report(str(workload), False, f"note: {mesh}: the mesh must let the sidecar reach {self._wanted.server}:8421")

    # -- routes

    def switch_routes(self) -> Iterator[Report]:
        """Lead the host's paths to the server."""
        names = {service.name for service in self._served}
        for route in self._routes:
            try:
                count = switch_route(self._edits, route, names, self._wanted.server, PATH)
            except Skipped as error:
                yield Report(str(route.resource), False, f"skipped: {error}")
            else:
                paths = "path leads" if count == 1 else "paths lead"
                text = f"{count} {paths} to {self._wanted.server} now; laptops join at {self._wanted.host}{PATH}"
                yield Report(str(route.resource), True, text)
        if not self._routes and self.any_serves:
            text = f"note: no Ingress or HTTPRoute of it is in the input; lead it to the Service {self._wanted.server}"
            yield Report(self._wanted.host, False, text)

    # -- the server

    def server(self, new_id: Callable[[], UUID]) -> tuple[list[str], list[Report]]:
        """The server and its Secret, or a further host of those that are there.

        :returns: further documents.
        :raises InjectError: the Secret is needed, and not in the input.
        """
        wanted = self._wanted
        present = [resource for resource in self._resources if is_server(resource, wanted.server)]
        secrets = [resource for resource in self._resources if (resource.kind, resource.name) == ("Secret", SECRET)]
        if present and not secrets:
            raise InjectError(
                f'the server is there ({present[0]}), but not its Secret "{SECRET}", which has the tunnels; let kubectl get '
                "that, too: kubectl get deploy,svc,ing,secret -o yaml"
            )
        reports: list[Report] = []
        for secret in secrets:
            try:
                reports.append(Report(str(secret), True, f"added {add_host(self._edits, secret, wanted.host, new_id)}"))
            except Skipped as error:
                reports.append(Report(str(secret), False, f"skipped: {error}"))
        reports += self._access_notes(bool(present or secrets))
        if present:
            return [], reports
        namespace = next((resource.namespace for resource in self._resources if resource.template is not None), "")
        tunnel = None if secrets else new_id()
        server = Server(wanted.server, namespace, wanted.image, wanted.trusted, wanted.access)
        documents = server_manifests(wanted.host, tunnel, server)
        added = [str(resource) for resource in read_resources(compose("---\n".join(documents)))]
        return documents, [*reports, *(Report(name, True, "added") for name in added)]

    def _access_notes(self, is_there: bool) -> Iterator[Report]:
        """What has to be done by hand, so that developers get what the sidecar offers.

        :param is_there: whether the server or its Secret is.
        """
        wanted = self._wanted
        if wanted.access is not None and is_there:
            text = f'note: --user is for a new server; add users to the one that is there ("{SECRET}" has no new ones)'
            yield Report(wanted.host, False, text)
        elif wanted.context.rights and wanted.access is None and self.any_serves:
            rights = ",".join(wanted.context.rights)
            text = f"note: nobody gets anything of the pods before the server has users, with the right {rights} (--user)"
            yield Report(wanted.host, False, text)

    def explain(self, reports: Iterable[Report]) -> str:
        """Why nothing serves the host."""
        host = self._wanted.host
        if not any(resource.template is not None for resource in self._resources):
            return f"no pods of {host} here: no Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob"
        lines = "".join(f"\n  {report}" for report in reports)
        return f"nothing to inject for {host}:{lines}"
