"""What developers get of an injected pod: its environment, files of its volumes, connections to what it reaches.

Each of them is an option of the sidecar, and off without it. For the environment there is an init container besides, which has the
application's ``env`` and ``envFrom``, so that Kubernetes works out the values, and writes down what it then finds in its own.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from rtunnel.inject.yaml_text import Node, find, items, plain, typed

__all__ = ["ENVIRONMENT", "NOTHING", "PYTHON", "TOKEN", "Additions", "Context", "additions"]

ENVIRONMENT: Final = "rtunnel-env"
"""The name of the init container that writes the environment down, and of the volume of memory that has it then."""
TOKEN: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where Kubernetes mounts the token of the service account."""

PYTHON: Final = "/opt/rtunnel/bin/python3"
"""Python in our image, whatever ``PATH`` a container has."""

_FOLDER: Final = "/rtunnel"
_FILE: Final = f"{_FOLDER}/env.json"
_PODS_FILES: Final = "/pod"
"""Below it the sidecar has the volumes of the application."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
"""Names of variables that can stand in an argument."""
_LOADER: Final = re.compile(r"LD_", re.ASCII)
"""Variables by which the loader would run code of the application's image, which is not there."""
_REFERENCE: Final = re.compile(r"\$\$|\$\(([^)]*)\)")
"""What Kubernetes replaces in a value: a variable, or two dollar signs by one."""
_CONFIGURATION: Final = ("configMap", "secret", "projected", "downwardAPI")
"""Kinds of volumes whose files are given out: small, and written by nobody in the pod."""


@attrs.frozen(kw_only=True)
class Context:
    """What developers may get of a pod, as far as its sidecar is concerned.

    :ivar env: whether they may get the environment.
    :ivar env_allow_secret: the variables whose values they may get although they come from Secrets, as for the sidecar's option.
    :ivar files: whether they may get files of the application's volumes.
    :ivar reach: what they may connect to, as for the sidecar's option; empty for nothing.
    """

    env: bool = False
    env_allow_secret: str = ""
    files: bool = False
    reach: str = ""

    @property
    def rights(self) -> tuple[str, ...]:
        """The actions that a user must be allowed at the server, to get any of it."""
        wanted = (("env", self.env), ("files", self.files), ("reach", bool(self.reach)))
        return tuple(name for name, is_wanted in wanted if is_wanted)


NOTHING: Final = Context()
"""Nothing of the pod is given out."""


@attrs.define
class Additions:
    """What that adds to a pod.

    :ivar arguments: of the sidecar.
    :ivar mounts: of the sidecar.
    :ivar init_containers: that run before the sidecar; without image, resources and what else all our containers have.
    :ivar volumes: of the pod.
    :ivar notes: what people should know.
    """

    arguments: list[str] = attrs.field(factory=list)
    mounts: list[dict[str, Any]] = attrs.field(factory=list)
    init_containers: list[dict[str, Any]] = attrs.field(factory=list)
    volumes: list[dict[str, Any]] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)


def additions(pod: Node, application: Node, context: Context) -> Additions:
    """What is to be added to a pod.

    :param pod: the ``spec`` of the pods.
    :param application: the container of the application.
    """
    added = Additions()
    if context.reach:
        added.arguments.append(f"--reach={context.reach}")
    if context.env:
        _add_environment(added, application, context.env_allow_secret)
    if context.files:
        _add_files(added, pod, application)
    return added


# -- the environment


def _add_environment(added: Additions, application: Node, allow_secret: str) -> None:
    variables = [one for one in typed(find(application, "env")) or [] if not _LOADER.match(str(one.get("name")))]
    origins = typed(find(application, "envFrom")) or []
    if not variables and not origins:
        added.notes.append("its application has neither env nor envFrom, so there is no environment to give out")
        return
    sources = [argument for source in _sources(variables, origins) for argument in ("--from", source)]
    writer: dict[str, Any] = {
        "name": ENVIRONMENT,
        # isolated, since the application's PATH and PYTHON... are set
        "command": [PYTHON, "-I", "-m", "rtunnel", "pod-env", f"--output={_FILE}", *sources],
    }
    copied = list(_copied(variables, str(plain(find(application, "name")))))
    if copied:
        writer["env"] = copied
    if origins:
        writer["envFrom"] = origins
    writer["volumeMounts"] = [{"name": ENVIRONMENT, "mountPath": _FOLDER}]
    added.init_containers.append(writer)
    added.volumes.append({"name": ENVIRONMENT, "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}})
    added.mounts.append({"name": ENVIRONMENT, "mountPath": _FOLDER, "readOnly": True})
    added.arguments.append(f"--env-source={_FILE}")
    if allow_secret:
        added.arguments.append(f"--env-allow-secret={allow_secret}")


def _copied(variables: list[Any], container: str) -> Iterator[dict[str, Any]]:
    """The variables, for another container."""
    for variable in variables:
        reference = (variable.get("valueFrom") or {}).get("resourceFieldRef")
        if reference is not None and "containerName" not in reference:
            # without a name it would be the container that has the variable
            yield {**variable, "valueFrom": {"resourceFieldRef": {"containerName": container, **reference}}}
        else:
            yield variable


def _sources(variables: list[Any], origins: list[Any]) -> Iterator[str]:
    """Where variables come from, as ``rtunnel pod-env`` is told; the first one that names a variable counts.

    Of ``envFrom`` the keys are not known here: what a Secret may have set counts as of the Secret.
    """
    named: dict[str, str] = {}
    for variable in variables:
        named[str(variable.get("name"))] = _source(variable, named, origins)
    for source in dict.fromkeys(named.values()):
        names = [name for name, its_source in named.items() if its_source == source and _NAME.fullmatch(name)]
        if names:
            yield f"{source}={','.join(names)}"
    for kind, reference in (("secret", "secretRef"), ("configmap", "configMapRef")):
        for origin in origins:
            prefix = origin.get("prefix") or ""
            if reference in origin and (not prefix or _NAME.fullmatch(prefix)):
                yield f"{kind}/{origin[reference].get('name')}={prefix}*"


def _source(variable: dict[str, Any], named: Mapping[str, str], origins: list[Any]) -> str:
    """Where a variable comes from; one whose value refers to one of a Secret has that in it, so it counts as of the Secret.

    :param named: the sources of the variables before it.
    :param origins: what ``envFrom`` has.
    """
    reference = variable.get("valueFrom") or {}
    for kind, key in (("secret", "secretKeyRef"), ("configmap", "configMapKeyRef")):
        if key in reference:
            return f"{kind}/{reference[key].get('name')}"
    for match in _REFERENCE.finditer(str(variable.get("value") or "")):
        source = named.get(match[1] or "") or _secret_with(match[1] or "", origins)
        if source.startswith("secret/"):
            return source
    return "value"


def _secret_with(name: str, origins: list[Any]) -> str:
    """The Secret of an ``envFrom`` that may have set a variable; empty if there is none."""
    for origin in origins:
        if "secretRef" in origin and name.startswith(origin.get("prefix") or ""):
            return f"secret/{origin['secretRef'].get('name')}"
    return ""


# -- files


def _add_files(added: Additions, pod: Node, application: Node) -> None:
    volumes = {str(plain(find(volume, "name"))): volume for volume in items(find(pod, "volumes"))}
    roots: dict[str, str] = {}
    left_out: list[str] = []
    for mount in items(find(application, "volumeMounts")):
        name, path = str(plain(find(mount, "name"))), posixpath.normpath(str(plain(find(mount, "mountPath"))))
        why = _why_not(volumes.get(name), mount, path)
        if why:
            left_out.append(f"{path} ({why})")
        else:
            roots[path] = name
    if roots:
        # in an argument, $(NAME) would be a variable
        given = ",".join(f"{path}={_PODS_FILES}/{name}" for path, name in roots.items()).replace("$(", "$$(")
        added.arguments.append(f"--files={given}")
    for name in dict.fromkeys(roots.values()):
        added.mounts.append({"name": name, "mountPath": f"{_PODS_FILES}/{name}", "readOnly": True})
    if left_out:
        added.notes.append(f"files are not given out of {', '.join(left_out)}")
    elif not roots:
        added.notes.append("its application has no volumes, so there are no files to give out")


def _why_not(volume: Node | None, mount: Node, path: str) -> str:
    """Why the files of a volume are not given out; empty if they are."""
    kind = next((kind for kind in _CONFIGURATION if find(volume, kind) is not None), "")
    if path == TOKEN or any(find(source, "serviceAccountToken") is not None for source in items(find(volume, kind, "sources"))):
        return "the token of a service account"
    if not kind:
        return "not of a ConfigMap, a Secret or the like"
    if find(mount, "subPath") is not None or find(mount, "subPathExpr") is not None:
        return "subPath: a single file, which is never updated"
    if not path.startswith("/") or path == "/" or set(",=") & set(path):
        return "no path that --files can name"
    return ""
