"""TLS towards Redis and MGT, with a real redis-server that asks for a client's certificate, and a real https server."""

import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hms_svc.address import RedisAddress, SettingsError, TlsFiles, redis_address
from hms_svc.connection import connect
from hms_svc.resp import RedisError
from hms_svc.settings import read

from .authority import Authority, Certificate
from .brokers import Guard
from .rig import Acks, Agent, Control, Redis, free_port, until
from .test_link import Mgt


class Secure(Redis):
    """redis-server behind TLS, with a plain port for the test itself."""

    def __init__(self, directory: Path, authority: Authority, certificate: Certificate) -> None:
        self.tls_port = free_port()
        super().__init__(directory, *authority.redis_options(certificate, self.tls_port))

    @property
    def secure(self) -> str:
        return f"rediss://localhost:{self.tls_port}"

    def take(self, certificate: Certificate, authority: Authority) -> None:
        """A rotation: the server reads its files anew."""
        names = {"cert-file": certificate.cert, "key-file": certificate.key, "ca-cert-file": authority.cert}
        self.command("CONFIG", "SET", *(word for name, path in names.items() for word in (f"tls-{name}", str(path))))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificate:
    return authority.issue("client")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Secure]:
    server = Secure(tmp_path_factory.mktemp("secure") / "redis", authority, authority.issue("server"))
    yield server
    server.kill()


def refusal(secure: Secure, files: TlsFiles, host: str = "localhost") -> str:
    with pytest.raises(RedisError) as refused:
        _ping(redis_address("X", f"rediss://{host}:{secure.tls_port}", files))
    return str(refused.value)


def _ping(address: RedisAddress) -> None:
    connection = connect(address)
    try:
        connection.call("PING")
    finally:
        connection.close()


def test_an_agent_with_its_certificate_works(
    new_agent: Callable[..., Agent], control: Control, secure: Secure, authority: Authority, ours: Certificate
) -> None:
    control.client = secure.client
    new_agent(HMS_REDIS_URL=secure.secure, **authority.files(ours)).start()
    control.put(1, {"rate_limit_rps": 200})
    Acks(secure.client).wait_active(1)
    control.put(2, {"greeting": "x" * 100_000})  # several records of TLS
    Acks(secure.client).wait_active(1, 2)


def test_what_is_wrong_is_said_in_plain_words(
    secure: Secure, authority: Authority, ours: Certificate, tmp_path: Path
) -> None:
    mine = authority.tls_files(ours)
    stranger = Authority(tmp_path, "stranger")
    foreign = stranger.issue("foreign")
    assert "unknown CA" in refusal(secure, mine._replace(ca=str(stranger.cert)))
    assert "HMS_TLS_CERT" in refusal(secure, TlsFiles(ca=mine.ca))
    assert "HMS_TLS_CERT" in refusal(secure, mine._replace(cert=str(foreign.cert), key=str(foreign.key)))
    assert "HMS_TLS_CERT or HMS_TLS_KEY" in refusal(secure, mine._replace(key=str(foreign.key)))
    assert "HMS_TLS_CA=" in refusal(secure, mine._replace(ca=str(ours.key)))
    assert "HMS_TLS_CA=/nowhere: No such file" in refusal(secure, mine._replace(ca="/nowhere"))
    with pytest.raises(RedisError, match="does this port speak TLS"):
        connect(redis_address("X", f"rediss://localhost:{secure.port}", mine))
    secure.take(authority.issue("elsewhere", hosts="DNS:elsewhere"), authority)
    assert "another host" in refusal(secure, mine)
    assert "another address" in refusal(secure, mine, "127.0.0.1")
    secure.take(authority.issue("old", days=-1), authority)
    assert "expired" in refusal(secure, mine)
    secure.take(authority.issue("server"), authority)


def test_whoever_may_not_be_believed_is_said_in_one_line_whichever_host_came_first(
    new_agent: Callable[..., Agent], authority: Authority, ours: Certificate, tmp_path: Path
) -> None:
    """A wrong CA, a wrong name and a missing certificate, of sentinels and of a cluster, for several attempts."""
    guard = Guard.over(tmp_path / "ca", hosts="IP:127.0.0.1")
    port, log = free_port(), tmp_path / "redis.log"
    server = Redis(tmp_path / "tls", *guard.options(port), "--logfile", str(log))
    hosts, names = f"127.0.0.1:{port},127.0.0.1:{port}", f"localhost:{port},localhost:{port}"
    urls = (
        "rediss+sentinel://user:own-word@{}/artists?sentinel_user=asker&sentinel_password=guard-word",
        "rediss+cluster://user:own-word@{}",
    )
    wrong = {
        "unknown CA": (hosts, authority.files(ours)),
        "for another host": (names, guard.authority.files(guard.client)),
        "HMS_TLS_CERT": (hosts, guard.authority.files()),
    }
    try:
        agents = [
            (words, new_agent(HMS_REDIS_URL=url.format(places), **files).start())
            for words, (places, files) in wrong.items()
            for url in urls
        ]
        # Each asks two hosts at each attempt.
        attempts = 3 * 2 * len(agents)
        until(lambda: log.read_text().count("Error accepting a client") > attempts, "some attempts", 30)
        for words, agent in agents:
            (line,) = agent.events("unlinked")
            assert line["detail"].count(words) == 1
            assert not [secret for secret in ("own-word", "guard-word") if secret in agent.log_path.read_text()]
    finally:
        server.kill()


def test_an_encrypted_key_asks_nobody(secure: Secure, authority: Authority, ours: Certificate, tmp_path: Path) -> None:
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", str(ours.key), "-aes256", "-passout", "pass:word", "-out", str(locked)]
    subprocess.run(command, check=True)
    assert "HMS_TLS_KEY" in refusal(secure, authority.tls_files(ours)._replace(key=str(locked)))


def test_certificates_that_were_rotated_are_used_at_the_next_dial(
    new_agent: Callable[..., Agent], control: Control, authority: Authority, ours: Certificate, tmp_path: Path
) -> None:
    """Server and client move to another CA; the agent's files are replaced, and the agent is not."""
    mine = tmp_path / "mine"
    mine.mkdir()
    paths = TlsFiles(str(mine / "ca.pem"), str(mine / "client.pem"), str(mine / "client.key"))
    _install(paths, authority, ours)
    server = Secure(tmp_path / "redis", authority, authority.issue("first"))
    try:
        settings = {f"HMS_TLS_{name.upper()}": path for name, path in paths._asdict().items()}
        agent = new_agent(HMS_REDIS_URL=server.secure, **settings).start()
        agent.wait_for("linked")
        after = Authority(tmp_path / "after", "after")
        server.take(after.issue("second"), after)
        server.command("CLIENT", "KILL", "TYPE", "pubsub")
        until(lambda: any("unknown CA" in event["detail"] for event in agent.events("unlinked")), "the refusal")
        _install(paths, after, after.issue("client"))
        agent.wait_for("linked", 2)
    finally:
        server.kill()
    del control


def _install(paths: TlsFiles, authority: Authority, client: Certificate) -> None:
    for path, source in zip(paths, (authority.cert, client.cert, client.key), strict=True):
        Path(path).write_bytes(source.read_bytes())


def test_mgt_is_asked_over_https(
    new_agent: Callable[..., Agent], control: Control, authority: Authority, ours: Certificate
) -> None:
    """With no Redis at all; MGT asks for our certificate, too."""
    server = authority.issue("mgt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    context.load_verify_locations(authority.cert)
    context.verify_mode = ssl.CERT_REQUIRED
    mgt = Mgt(control, context)
    settings = {
        "HMS_MGT_URL": f"https://localhost:{mgt.server_port}",
        "HMS_TOKEN": "hms_secret",
        "HMS_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    control.step([control.entry(1, {"rate_limit_rps": 200})], [])
    try:
        stranger = new_agent(**settings).start()
        assert "unknown CA" in stranger.wait_for("mgt_unreachable")[0]["detail"]
        agent = new_agent(**settings, **authority.files(ours)).start()
        until(lambda: "200" in agent.conf.read_text(), "MGT's snapshot to take effect")
    finally:
        mgt.shutdown()
        mgt.server_close()


@pytest.mark.parametrize("name", ["HMS_TLS_CA", "HMS_TLS_CERT", "HMS_TLS_KEY"])
def test_a_file_that_is_not_there_is_named(name: str) -> None:
    needed = {"TENANT": "T", "HMS_SERVICE": "S", "HMS_VERSION": "1.0.0", "HMS_TRUST": "t"}
    with pytest.raises(SettingsError, match=f"{name}=/nowhere"):
        read({**needed, name: "/nowhere"})
