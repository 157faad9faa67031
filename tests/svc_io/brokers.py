"""Real Redis in its other shapes: a master with replica and sentinels, a cluster, a server behind TLS."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis

from .authority import Authority, Certificate
from .rig import Redis, free_port, until

MASTER = "artists"


def show(figures: object) -> None:
    """For whoever runs the tests with -s or -rP."""
    sys.stdout.write(f"{figures}\n")


class Guard(NamedTuple):
    """Has servers speak TLS to each other and to us, and ask everybody for a certificate."""

    authority: Authority
    server: Certificate
    client: Certificate

    @classmethod
    def over(cls, directory: Path, hosts: str = "IP:127.0.0.1") -> "Guard":
        """One with a CA of its own, whose servers have a certificate for these hosts."""
        authority = Authority(directory)
        return cls(authority, authority.issue("server", hosts=hosts), authority.issue("client"))

    def options(self, port: int) -> tuple[str, ...]:
        """For redis-server; its plain port stays open to the test."""
        return (*self.authority.redis_options(self.server, port), "--tls-replication", "yes", "--tls-cluster", "yes")

    def lines(self, port: int) -> list[str]:
        """The same for a sentinel's file."""
        words = self.options(port)
        return [f"{name.removeprefix('--')} {value}" for name, value in zip(words[::2], words[1::2], strict=True)]

    def dialling(self) -> dict[str, Any]:
        """For redis-py."""
        files = {"ssl_certfile": str(self.client.cert), "ssl_keyfile": str(self.client.key)}
        return {"ssl": True, "ssl_ca_certs": str(self.authority.cert), **files}

    def cli(self) -> list[str]:
        """For redis-cli."""
        files = ("--cacert", self.authority.cert, "--cert", self.client.cert, "--key", self.client.key)
        return ["--tls", *map(str, files)]


class Sentinels:
    """Three sentinels, a master and a replica; a dead master is replaced within two seconds or so."""

    def __init__(
        self, directory: Path, *, password: str = "", sentinel_password: str = "", guard: Guard | None = None
    ) -> None:
        directory.mkdir()
        self._directory = directory
        self._guard = guard
        self.password, self.sentinel_password = password, sentinel_password
        login = ["--requirepass", password, "--masterauth", password] if password else []
        fast = ["--repl-diskless-sync-delay", "0", *login]
        self.master = _Server(directory / "a", password, fast, guard)
        follow = ["--replicaof", f"127.0.0.1 {self.master.dialled}"]
        self.replica = _Server(directory / "b", password, [*fast, *follow], guard)
        until(lambda: self.replica.info("replication")["master_link_status"] == "up", "the replica to follow", 20)
        self._sentinels = [self._sentinel(number) for number in range(3)]
        until(lambda: all(self._complete(port) for _, port in self._sentinels), "the sentinels to know each other", 30)

    def _sentinel(self, number: int) -> tuple[subprocess.Popen[bytes], int]:
        port = free_port()
        directory = self._directory / f"sentinel{number}"
        directory.mkdir()
        lines = [
            *(["port 0", *self._guard.lines(port)] if self._guard else [f"port {port}"]),
            "bind 127.0.0.1",
            f"dir {directory}",
            f"sentinel monitor {MASTER} 127.0.0.1 {self.master.dialled} 2",
            f"sentinel down-after-milliseconds {MASTER} 800",
            f"sentinel failover-timeout {MASTER} 4000",
            *([f"sentinel auth-pass {MASTER} {self.password}"] if self.password else []),
            *(
                [f"requirepass {self.sentinel_password}", f"sentinel sentinel-pass {self.sentinel_password}"]
                if self.sentinel_password
                else []
            ),
        ]
        conf = directory / "sentinel.conf"
        conf.write_text("\n".join(lines) + "\n")
        process = subprocess.Popen(["redis-server", str(conf), "--sentinel"], stdout=subprocess.DEVNULL)
        return process, port

    def _asked(self, port: int) -> redis.Redis:
        more: dict[str, Any] = self._guard.dialling() if self._guard else {}
        return redis.Redis(host="127.0.0.1", port=port, password=self.sentinel_password or None, **more)

    def _complete(self, port: int) -> bool:
        try:
            with self._asked(port) as sentinel:
                state: Any = sentinel.sentinel_masters()[MASTER]
                return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)
        except redis.RedisError:
            return False

    def named(self) -> int:
        """The port of the master that the first sentinel names now."""
        with self._asked(self._sentinels[0][1]) as sentinel:
            found: Any = sentinel.sentinel_get_master_addr_by_name(MASTER)
            port: int = found[1]
            return port

    def ask(self, *words: str) -> Any:
        with self._asked(self._sentinels[0][1]) as sentinel:
            return sentinel.execute_command(*words)

    def admit(self, rule: str, guard_rule: str) -> None:
        """Let a user of ours in everywhere, for users are not replicated; the second rule is the sentinels'."""
        for server in (self.master, self.replica):
            server.command("ACL", "SETUSER", *rule.split())
        for _, port in self._sentinels:
            with self._asked(port) as sentinel:
                sentinel.execute_command("ACL", "SETUSER", *guard_rule.split())

    @property
    def url(self) -> str:
        login = f":{self.password}@" if self.password else ""
        query = f"?sentinel_password={self.sentinel_password}" if self.sentinel_password else ""
        return self.url_for(login, query)

    def url_for(self, login: str, query: str = "", host: str = "127.0.0.1") -> str:
        """The URL of whoever logs in like this."""
        hosts = ",".join(f"{host}:{port}" for _, port in self._sentinels)
        return f"{'rediss' if self._guard else 'redis'}+sentinel://{login}{hosts}/{MASTER}{query}"

    def close(self) -> None:
        for process, _ in self._sentinels:
            process.kill()
            process.wait()
        self.master.kill()
        self.replica.kill()


class _Server(Redis):
    """A server that may want a password, and speak TLS on a second port: `dialled` is where its users go."""

    def __init__(self, directory: Path, password: str, options: Sequence[str], guard: Guard | None = None) -> None:
        self._password = password
        self.dialled = free_port()
        super().__init__(directory, *options, *(guard.options(self.dialled) if guard else ()))
        if guard is None:
            self.dialled = self.port

    def _answers(self) -> bool:
        self.client.close()
        self.client = redis.Redis(port=self.port, password=self._password or None)
        return super()._answers()

    def info(self, section: str) -> dict[str, Any]:
        found: Any = self.client.info(section)
        return dict(found)


class Cluster:
    """Three masters, and where asked for a replica of each, which takes over within three seconds or so."""

    def __init__(self, directory: Path, *, replicas: int = 0, guard: Guard | None = None) -> None:
        directory.mkdir()
        self._guard = guard
        self.nodes = [_Node(directory / str(number), guard) for number in range(3 + 3 * replicas)]
        hosts = [f"127.0.0.1:{node.dialled}" for node in self.nodes]
        create = ["redis-cli", *(guard.cli() if guard else ()), "--cluster", "create", *hosts, "--cluster-yes"]
        create += ["--cluster-replicas", str(replicas)]
        subprocess.run(create, check=True, capture_output=True, timeout=60)
        until(lambda: all(node.sees_all() for node in self.nodes), "the cluster to be whole", 30)
        until(lambda: sum(map(_Node.follows, self.nodes)) == 3 * replicas, "the replicas to follow", 30)

    @property
    def url(self) -> str:
        return self.url_for("")

    def url_for(self, login: str, host: str = "127.0.0.1") -> str:
        """The URL of whoever logs in like this."""
        hosts = ",".join(f"{host}:{node.dialled}" for node in self.nodes)
        return f"{'rediss' if self._guard else 'redis'}+cluster://{login}{hosts}"

    def admit(self, rule: str) -> None:
        """Let a user of ours in everywhere, for users are not replicated."""
        for node in self.nodes:
            node.command("ACL", "SETUSER", *rule.split())

    def client(self) -> redis.RedisCluster:
        alive = next(node for node in self.nodes if node.running())
        return redis.RedisCluster(host="127.0.0.1", port=alive.port, require_full_coverage=False)

    def owner(self, key: str) -> "_Node":
        slot = self.slot(key)
        return next(node for node in self.nodes if node.owns(slot))

    def slot(self, key: str) -> int:
        found: Any = self.nodes[0].client.cluster("KEYSLOT", key)
        return int(found)

    def move(self, key: str, *, finish: bool = True) -> "_Node":
        """Move a key's slot to another node, as a reshard does; unfinished, the key answers by ASK. Who gets it."""
        slot, source = self.slot(key), self.owner(key)
        target = next(node for node in self.nodes if node is not source)
        there = source.client.exists(key)
        target.command("CLUSTER", "SETSLOT", str(slot), "IMPORTING", source.id)
        source.command("CLUSTER", "SETSLOT", str(slot), "MIGRATING", target.id)
        if there:
            source.command("MIGRATE", "127.0.0.1", str(target.port), key, "0", "5000")
        if finish:
            for node in self.nodes:
                node.command("CLUSTER", "SETSLOT", str(slot), "NODE", target.id)
        return target

    def close(self) -> None:
        for node in self.nodes:
            node.kill()


class _Node(Redis):
    def __init__(self, directory: Path, guard: Guard | None = None) -> None:
        # Of ports below 55535, because each node listens on another one 10,000 above.
        self.dialled = _low_port()
        options = (
            *(guard.options(self.dialled) if guard else ()),
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-require-full-coverage",
            "no",
        )
        super().__init__(directory, *options)
        if guard is None:
            self.dialled = self.port

    def start(self) -> None:
        if self.port > 55_535:
            self.port = _low_port()
        super().start()

    def follows(self) -> bool:
        """Whether it is a replica that has all its master has."""
        found: Any = self.client.info("replication")
        return bool(found["role"] == "slave" and found["master_link_status"] == "up")

    @property
    def id(self) -> str:
        found: Any = self.client.execute_command("CLUSTER", "MYID")  # type: ignore[no-untyped-call]
        return str(found.decode())

    def running(self) -> bool:
        return self._process.poll() is None

    def sees_all(self) -> bool:
        state: Any = self.client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
        return bool(state["cluster_state"] == "ok" and state["cluster_slots_ok"] == "16384")

    def owns(self, slot: int) -> bool:
        shards: Any = self.client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
        return any(first <= slot <= last and primary[1] == self.port for first, last, primary, *_ in shards)

    def keys_in(self, slot: str) -> int:
        found: Any = self.client.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot)  # type: ignore[no-untyped-call]
        return int(found)

    def subscribers(self) -> int:
        found: Any = self.client.pubsub_numsub("cfg::IACB")
        count: int = found[0][1]
        return count


def _low_port() -> int:
    while (port := free_port()) > 55_535:
        pass
    return port
