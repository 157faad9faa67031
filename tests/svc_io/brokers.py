"""Real Redis in its other shapes: a master with replica and sentinels, a cluster, a server behind TLS."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from .rig import Redis, free_port, until

MASTER = "artists"


def show(figures: object) -> None:
    """For whoever runs the tests with -s or -rP."""
    sys.stdout.write(f"{figures}\n")


class Sentinels:
    """Three sentinels, a master and a replica; a dead master is replaced within two seconds or so."""

    def __init__(self, directory: Path, *, password: str = "", sentinel_password: str = "") -> None:
        directory.mkdir()
        self._directory = directory
        self.password, self.sentinel_password = password, sentinel_password
        login = ["--requirepass", password, "--masterauth", password] if password else []
        fast = ["--repl-diskless-sync-delay", "0", *login]
        self.master = _Server(directory / "a", password, fast)
        self.replica = _Server(directory / "b", password, [*fast, "--replicaof", f"127.0.0.1 {self.master.port}"])
        until(lambda: self.replica.info("replication")["master_link_status"] == "up", "the replica to follow", 20)
        self._sentinels = [self._sentinel(number) for number in range(3)]
        until(lambda: all(self._complete(port) for _, port in self._sentinels), "the sentinels to know each other", 30)

    def _sentinel(self, number: int) -> tuple[subprocess.Popen[bytes], int]:
        port = free_port()
        directory = self._directory / f"sentinel{number}"
        directory.mkdir()
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"dir {directory}",
            f"sentinel monitor {MASTER} 127.0.0.1 {self.master.port} 2",
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

    def _complete(self, port: int) -> bool:
        try:
            with redis.Redis(port=port, password=self.sentinel_password or None) as sentinel:
                state: Any = sentinel.sentinel_masters()[MASTER]
                return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)
        except redis.RedisError:
            return False

    def named(self) -> int:
        """The port of the master that the first sentinel names now."""
        with redis.Redis(port=self._sentinels[0][1], password=self.sentinel_password or None) as sentinel:
            found: Any = sentinel.sentinel_get_master_addr_by_name(MASTER)
            port: int = found[1]
            return port

    def ask(self, *words: str) -> Any:
        with redis.Redis(port=self._sentinels[0][1], password=self.sentinel_password or None) as sentinel:
            return sentinel.execute_command(*words)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for _, port in self._sentinels)
        login = f":{self.password}@" if self.password else ""
        query = f"?sentinel_password={self.sentinel_password}" if self.sentinel_password else ""
        return f"redis+sentinel://{login}{hosts}/{MASTER}{query}"

    def close(self) -> None:
        for process, _ in self._sentinels:
            process.kill()
            process.wait()
        self.master.kill()
        self.replica.kill()


class _Server(Redis):
    """A server that may want a password."""

    def __init__(self, directory: Path, password: str, options: Sequence[str]) -> None:
        self._password = password
        super().__init__(directory, *options)

    def _answers(self) -> bool:
        self.client.close()
        self.client = redis.Redis(port=self.port, password=self._password or None)
        return super()._answers()

    def info(self, section: str) -> dict[str, Any]:
        found: Any = self.client.info(section)
        return dict(found)


class Cluster:
    """Three masters."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        # Of ports below 55535, because each node listens on another one 10,000 above.
        self.nodes = [_Node(directory / str(number)) for number in range(3)]
        hosts = [f"127.0.0.1:{node.port}" for node in self.nodes]
        create = ["redis-cli", "--cluster", "create", *hosts, "--cluster-yes"]
        subprocess.run(create, check=True, capture_output=True, timeout=60)
        until(lambda: all(node.sees_all() for node in self.nodes), "the cluster to be whole", 30)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

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
    def __init__(self, directory: Path) -> None:
        options = (
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-require-full-coverage",
            "no",
        )
        super().__init__(directory, *options)

    def start(self) -> None:
        while self.port > 55_535:
            self.port = free_port()
        super().start()

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
