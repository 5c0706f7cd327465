"""The node: a network namespace with containerd, a control plane, a kubelet and a proxy."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from pathlib import Path
from typing import Final

from tests.cluster.certificates import make_certificates
from tests.cluster.programs import BIN
from tests.cluster.shell import HOME, NAMESPACE, ClusterError, inside, run, start, stop_all, wait_until

__all__ = ["ADDRESS", "INGRESS", "KUBECONFIG", "down", "is_up", "kubectl", "up"]

ADDRESS: Final = "10.77.0.1"
"""The node's address."""
INGRESS: Final = "10.78.0.2"
"""Where this machine reaches the node: the other end of a virtual cable."""
STATE: Final = HOME / "state"
KUBECONFIG: Final = STATE / "kubeconfig"
_SOCKET: Final = STATE / "containerd.sock"
_SERVICES: Final = "10.96.0.0/16"
_DNS: Final = "10.96.0.10"
_PODS: Final = "10.88.0.0/16"
_PAUSE: Final = "localhost/pause:1"


def kubectl(*arguments: str, text: str | None = None, check: bool = True, timeout: float = 600) -> str:
    """Run kubectl as the cluster's administrator."""
    command = inside(str(BIN / "kubectl"), f"--kubeconfig={KUBECONFIG}", *arguments)
    return run(*command, text=text, check=check, timeout=timeout)


def up() -> None:
    """Start the node; it is ready when this returns.

    :raises ClusterError: something of it does not start.
    """
    if Path(f"/run/netns/{NAMESPACE}").exists():
        raise ClusterError("the cluster is up already, or left something behind; make cluster-down ends it")
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(parents=True)
    _network()
    make_certificates(STATE / "pki", [ADDRESS, "10.96.0.1", "127.0.0.1"])
    token = secrets.token_hex(16)
    (STATE / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n", encoding="utf-8")
    _write_kubeconfig(token)
    _containerd()
    _control_plane()
    _workers()
    _dns()
    wait_until(lambda: "True" in _ready(), "the node is ready")


def is_up() -> bool:
    """Whether the node runs, and is ready."""
    return KUBECONFIG.exists() and "True" in _ready()


def down() -> None:
    """End the cluster, and leave nothing of it behind but programs and images."""
    if _SOCKET.exists():
        _end_containers()
    stop_all()
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    for mount in sorted((path for path in mounts if path.startswith(str(HOME))), reverse=True):
        run("umount", "--lazy", mount, check=False)
    if Path(f"/run/netns/{NAMESPACE}").exists():
        run("ip", "netns", "delete", NAMESPACE)
    run("ip", "link", "delete", "rtcluster0", check=False)
    for folder in (STATE, HOME / "tmp"):
        shutil.rmtree(folder, ignore_errors=True)


def _end_containers() -> None:
    """End what runs in pods, and their network namespaces: containerd leaves both alone when it stops."""
    tool = ("ctr", f"--address={_SOCKET}", "--namespace=k8s.io")
    containers = run(*tool, "task", "list", "--quiet", check=False).split()
    specs = [run(*tool, "container", "info", container, check=False) for container in containers]
    for container in containers:
        run(*tool, "task", "kill", "--signal", "SIGKILL", container, check=False)
    for namespace in {found for spec in specs for found in re.findall(r'"/(?:var/)?run/netns/(cni-[^"]+)"', spec)}:
        run("ip", "netns", "delete", namespace, check=False)


def _ready() -> str:
    path = '{.items[*].status.conditions[?(@.type=="Ready")].status}'
    return kubectl("get", "nodes", "--output", f"jsonpath={path}", check=False)


def _network() -> None:
    run("ip", "netns", "add", NAMESPACE)
    for command in (
        "ip link set lo up",
        "ip link add node0 type bridge",
        f"ip address add {ADDRESS}/24 dev node0",
        "ip link set node0 up",
        "sysctl -qw net.ipv4.ip_forward=1",
    ):
        run(*inside(*command.split()))
    run("ip", "link", "add", "rtcluster0", "type", "veth", "peer", "name", "outside", "netns", NAMESPACE)
    run("ip", "address", "add", "10.78.0.1/30", "dev", "rtcluster0")
    run("ip", "link", "set", "rtcluster0", "up")
    run(*inside("ip", "address", "add", f"{INGRESS}/30", "dev", "outside"))
    run(*inside("ip", "link", "set", "outside", "up"))
    # the kubelet and the API server ask for the interface of the default route; nothing is reached over it
    run(*inside("ip", "route", "add", "default", "via", "10.78.0.1"))


def _write_kubeconfig(token: str) -> None:
    KUBECONFIG.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": "test",
                        "cluster": {"server": f"https://{ADDRESS}:6443", "certificate-authority": str(STATE / "pki" / "ca.pem")},
                    }
                ],
                "users": [{"name": "admin", "user": {"token": token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
                "current-context": "test",
            }
        ),
        encoding="utf-8",
    )
    KUBECONFIG.chmod(0o600)


def _containerd() -> None:
    cni = STATE / "cni"
    cni.mkdir()
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(STATE / "addresses"),
                    "ranges": [[{"subnet": _PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    (cni / "pods.conflist").write_text(json.dumps(network), encoding="utf-8")
    config = STATE / "containerd.toml"
    config.write_text(
        f"""\
version = 2
root = "{STATE}/containerd"
state = "{STATE}/run"
[grpc]
address = "{_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{_PAUSE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{cni}"
""",
        encoding="utf-8",
    )
    start("containerd", ("containerd", "--config", str(config)))
    wait_until(_SOCKET.exists, "containerd listens")


def _control_plane() -> None:
    pki = STATE / "pki"
    start(
        "etcd",
        (
            *("etcd", "--data-dir", str(STATE / "etcd"), "--unsafe-no-fsync"),
            *("--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379"),
            *("--listen-peer-urls", "http://127.0.0.1:2380"),
        ),
    )
    start(
        "kube-apiserver",
        (
            *(str(BIN / "kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", f"--service-cluster-ip-range={_SERVICES}"),
            *(f"--bind-address={ADDRESS}", f"--advertise-address={ADDRESS}", "--secure-port=6443", "--allow-privileged"),
            *(f"--tls-cert-file={pki}/server.pem", f"--tls-private-key-file={pki}/server.key"),
            *(f"--token-auth-file={STATE}/tokens.csv", "--authorization-mode=RBAC"),
            *("--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={pki}/accounts.pub"),
            *(f"--service-account-signing-key-file={pki}/accounts.key", "--kubelet-preferred-address-types=InternalIP"),
        ),
    )
    wait_until(lambda: kubectl("get", "--raw", "/readyz", check=False) == "ok", "the API server is ready")
    start(
        "kube-controller-manager",
        (
            *(str(BIN / "kube-controller-manager"), f"--kubeconfig={KUBECONFIG}", "--leader-elect=false"),
            *(f"--service-account-private-key-file={pki}/accounts.key", f"--root-ca-file={pki}/ca.pem"),
        ),
    )
    start("kube-scheduler", (str(BIN / "kube-scheduler"), f"--kubeconfig={KUBECONFIG}", "--leader-elect=false"))


def _workers() -> None:
    config = STATE / "kubelet.json"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
                "authorization": {"mode": "AlwaysAllow"},
                "address": ADDRESS,
                "healthzPort": 0,
                "cgroupDriver": "cgroupfs",
                "failSwapOn": False,
                "localStorageCapacityIsolation": False,
                "makeIPTablesUtilChains": False,
                "containerRuntimeEndpoint": f"unix://{_SOCKET}",
                "clusterDNS": [_DNS],
                "clusterDomain": "cluster.local",
                "resolvConf": "",
                "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
                "volumePluginDir": str(STATE / "volume-plugins"),
                "imageMinimumGCAge": "24h",
                # a minute by default: how soon a pod sees that a ConfigMap has changed
                "syncFrequency": "5s",
            }
        ),
        encoding="utf-8",
    )
    start(
        "kubelet",
        (
            *(str(BIN / "kubelet"), f"--config={config}", f"--kubeconfig={KUBECONFIG}", "--hostname-override=node"),
            *(f"--node-ip={ADDRESS}", f"--root-dir={STATE}/kubelet", f"--cert-dir={STATE}/kubelet-pki"),
        ),
    )
    start(
        "kube-proxy",
        (
            *(str(BIN / "kube-proxy"), f"--kubeconfig={KUBECONFIG}", "--hostname-override=node", "--proxy-mode=nftables"),
            *(f"--cluster-cidr={_PODS}", "--conntrack-max-per-core=0", "--conntrack-min=0"),
            *("--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s"),
        ),
    )


def _dns() -> None:
    """CoreDNS beside the pods, at the address that these ask."""
    corefile = STATE / "Corefile"
    corefile.write_text(
        f""".:53 {{
    bind {ADDRESS}
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {KUBECONFIG}
        pods insecure
    }}
    cache 5
}}
""",
        encoding="utf-8",
    )
    start("coredns", (str(BIN / "coredns"), "-conf", str(corefile)))
    ports = [{"name": f"dns-{protocol.lower()}", "port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    name = {"name": "kube-dns", "namespace": "kube-system"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": name, "spec": {"clusterIP": _DNS, "ports": ports}}
    subsets = [{"addresses": [{"ip": ADDRESS}], "ports": ports}]
    endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": name, "subsets": subsets}
    kubectl("apply", "--filename", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": [service, endpoints]}))
