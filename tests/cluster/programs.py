"""The programs of the cluster: those of Kubernetes, CoreDNS and Helm, built once from their Go modules, and those of Debian."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from tests.cluster.shell import HOME, ClusterError, run

__all__ = ["BIN", "check", "provide"]

BIN: Final = HOME / "bin"
VERSION: Final = "v1.31.4"
_OTHERS: Final = {"coredns": "github.com/coredns/coredns@v1.11.3", "helm": "helm.sh/helm/v3/cmd/helm@v3.22.0"}

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
_PLUGINS = Path("/usr/lib/cni/bridge")


def check() -> None:
    """Whether the machine can run the cluster at all.

    :raises ClusterError: it cannot.
    """
    if os.geteuid() != 0:
        raise ClusterError("the cluster needs root, for network namespaces, mounts and cgroups")
    if not Path("/sys/fs/cgroup/memory").is_dir():
        raise ClusterError("the kubelet of the cluster needs cgroups of version 1 (/sys/fs/cgroup/memory)")
    if shutil.which("go") is None:
        raise ClusterError("Kubernetes is built from its Go modules: install Go 1.23 or later")


def provide() -> None:
    """Install what is missing, and build what is not built yet; that takes some minutes the first time.

    :raises ClusterError: something cannot be had.
    """
    missing = sorted({package for program, package in _DEBIAN.items() if shutil.which(program) is None})
    if not _PLUGINS.exists():
        missing.append("containernetworking-plugins")
    if missing:
        print(f"installing {', '.join(missing)}", flush=True)
        run("apt-get", "update", "-qq", check=False)
        options = ("-qq", "-y", "--no-install-recommends")
        # the servers among them are not started: their processes here are our own
        run("apt-get", "install", *options, *missing, env={"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"})
    BIN.mkdir(parents=True, exist_ok=True)
    if not all((BIN / name).exists() for name in _COMMANDS):
        print(f"building Kubernetes {VERSION}, which takes some minutes", flush=True)
        _build()
    for name, module in _OTHERS.items():
        if not (BIN / name).exists():
            print(f"building {name}", flush=True)
            run("go", "install", module, env={"GOBIN": str(BIN)}, timeout=3600)


def _build() -> None:
    version = " ".join(
        f"-X {package}.gitVersion={VERSION} -X {package}.gitMajor=1 -X {package}.gitMinor=31"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    )
    packages = [f"k8s.io/kubernetes/cmd/{name}" for name in _COMMANDS]
    run("go", "-C", str(_MODULE), "build", "-trimpath", "-ldflags", f"-s -w {version}", "-o", f"{BIN}/", *packages, timeout=3600)
