"""The peers that speak protocols of their own: rathole, chisel, frp and piko. Each with its best settings."""

from __future__ import annotations

from bench.stage import CLIENT, SERVER, Stage
from bench.systems.base import Ability, Setup, System, first_line, program, variable_missing


class Rathole(System):
    """rathole (``RTUNNEL_BENCH_RATHOLE``): Rust, plain TCP, a connection for each visitor connection."""

    routes = "TCP"
    can = frozenset({Ability.DATAGRAMS})

    def absent(self) -> str | None:
        return variable_missing("RTUNNEL_BENCH_RATHOLE")

    def version(self) -> str:
        version = first_line([program("RTUNNEL_BENCH_RATHOLE"), "--version"], "Build Version")
        return f"rathole {version.rpartition(' ')[2]}"

    def start(self, setup: Setup, stage: Stage) -> int:
        tunnel, entry = stage.port(), stage.port()
        kind = 'type = "udp"\n' if setup.datagrams else ""
        rathole, quiet = program("RTUNNEL_BENCH_RATHOLE"), {"RUST_LOG": "error"}
        server = f'[server]\nbind_addr = "127.0.0.1:{tunnel}"\ndefault_token = "bench"\n\n'
        server += f'[server.services.bench]\nbind_addr = "127.0.0.1:{entry}"\n{kind}'
        client = f'[client]\nremote_addr = "127.0.0.1:{tunnel}"\ndefault_token = "bench"\n\n'
        client += f'[client.services.bench]\nlocal_addr = "127.0.0.1:{setup.targets[0]}"\n{kind}'
        stage.start(SERVER, [rathole, "--server", stage.write("server.toml", server)], quiet)
        stage.wait_listening(tunnel)
        stage.start(CLIENT, [rathole, "--client", stage.write("client.toml", client)], quiet)
        if setup.datagrams:
            stage.wait_echo(entry)
        else:
            stage.wait_answer(entry)
        return entry


class Chisel(System):
    """chisel (``RTUNNEL_BENCH_CHISEL``): SSH over a WebSocket."""

    routes = "TCP"

    def absent(self) -> str | None:
        return variable_missing("RTUNNEL_BENCH_CHISEL")

    def version(self) -> str:
        return f"chisel {first_line([program('RTUNNEL_BENCH_CHISEL'), '--version'])}"

    def start(self, setup: Setup, stage: Stage) -> int:
        tunnel, entry = stage.port(), stage.port()
        chisel = program("RTUNNEL_BENCH_CHISEL")
        stage.start(SERVER, [chisel, "server", "--host", "127.0.0.1", "--port", str(tunnel), "--reverse"])
        stage.wait_listening(tunnel)
        remote = f"R:127.0.0.1:{entry}:127.0.0.1:{setup.targets[0]}"
        stage.start(CLIENT, [chisel, "client", f"http://127.0.0.1:{tunnel}", remote])
        stage.wait_answer(entry)
        return entry


class Frp(System):
    """frp (``RTUNNEL_BENCH_FRPS``, ``_FRPC``): an ``http`` proxy over ``websocket``, connections made in advance."""

    routes = "HTTP"
    can = frozenset({Ability.PAIR})

    def absent(self) -> str | None:
        return variable_missing("RTUNNEL_BENCH_FRPS", "RTUNNEL_BENCH_FRPC")

    def version(self) -> str:
        return f"frp {first_line([program('RTUNNEL_BENCH_FRPS'), '--version'])}"

    def start(self, setup: Setup, stage: Stage) -> int:
        tunnel, entry = stage.port(), stage.port()
        server = f'bindAddr = "127.0.0.1"\nbindPort = {tunnel}\nvhostHTTPPort = {entry}\n'
        server += 'transport.maxPoolCount = 64\nlog.to = "console"\nlog.level = "error"\n'
        stage.start(SERVER, [program("RTUNNEL_BENCH_FRPS"), "-c", stage.write("frps.toml", server)])
        stage.wait_listening(tunnel, entry)
        for number, target in enumerate(setup.targets):
            client = f'serverAddr = "127.0.0.1"\nserverPort = {tunnel}\ntransport.protocol = "websocket"\n'
            client += "transport.tls.enable = false\ntransport.poolCount = 64\n"
            client += 'log.to = "console"\nlog.level = "error"\n\n'
            client += f'[[proxies]]\nname = "bench{number}"\ntype = "http"\nlocalIP = "127.0.0.1"\n'
            client += f'localPort = {target}\ncustomDomains = ["bench.local"]\n'
            if len(setup.targets) > 1:
                client += 'loadBalancer.group = "bench"\nloadBalancer.groupKey = "bench"\n'
            stage.start(CLIENT, [program("RTUNNEL_BENCH_FRPC"), "-c", stage.write(f"frpc{number}.toml", client)])
        stage.wait_answer(entry)
        return entry


class Piko(System):
    """piko (``RTUNNEL_BENCH_PIKO``): one node, an HTTP listener, access logs off."""

    routes = "HTTP"
    can = frozenset({Ability.PAIR})

    def absent(self) -> str | None:
        return variable_missing("RTUNNEL_BENCH_PIKO")

    def version(self) -> str:
        return f"piko {first_line([program('RTUNNEL_BENCH_PIKO'), '--version']).rpartition(' ')[2]}"

    def start(self, setup: Setup, stage: Stage) -> int:
        entry, upstream, admin, gossip = (stage.port() for _ in range(4))
        piko = program("RTUNNEL_BENCH_PIKO")
        server = [piko, "server", "--log.level", "error", "--proxy.access-log.disable"]
        for listener, port in (("proxy", entry), ("upstream", upstream), ("admin", admin), ("cluster.gossip", gossip)):
            server += [f"--{listener}.bind-addr", f"127.0.0.1:{port}"]
        # Its default limits on time cut long transfers.
        server += ["--proxy.timeout", "10m", "--proxy.http.read-timeout", "0s", "--proxy.http.write-timeout", "0s"]
        stage.start(SERVER, server)
        stage.wait_listening(entry, upstream)
        for target in setup.targets:
            agent = [piko, "agent", "http", "bench", f"127.0.0.1:{target}", "--access-log.disable"]
            agent += ["--log.level", "error", "--connect.url", f"http://127.0.0.1:{upstream}"]
            agent += ["--timeout", "10m", "--http-client.max-idle-conns", "512"]
            stage.start(CLIENT, agent)
        stage.wait_answer(entry)
        return entry
