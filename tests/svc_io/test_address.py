"""URLs out of settings, taken apart."""

import pytest

from hms_svc.address import HttpAddress, RedisAddress, SettingsError, TlsFiles, http_address, redis_address

FILES = TlsFiles("ca.pem")


def test_one_server() -> None:
    plain = RedisAddress("server", (("h", 6379),), None, "", "")
    assert redis_address("X", "redis://h") == plain
    secure = plain._replace(hosts=(("::1", 7),), tls=FILES, password="p@:q", db=3)
    assert redis_address("X", "rediss://:p%40:q@[::1]:7/3", FILES) == secure
    local = plain._replace(kind="socket", hosts=(), path="/run/r.sock", user="u", password="p", db=2)
    assert redis_address("X", "unix://u:p@/run/r.sock?db=2") == local


def test_sentinels() -> None:
    found = redis_address("X", "redis+sentinel://u:p@h1,h2:7/the%2Dmaster/2?sentinel_user=s&sentinel_password=%26q")
    assert found == RedisAddress("sentinel", (("h1", 26379), ("h2", 7)), None, "u", "p", 2, "", "the-master", "s", "&q")
    assert redis_address("X", "rediss+sentinel://h1/m", FILES).tls == FILES
    assert found.at("h3", 6379).hosts == (("h3", 6379),)


def test_a_cluster() -> None:
    found = redis_address("X", "redis+cluster://:p@h1:7000,[::1]:7001")
    assert found == RedisAddress("cluster", (("h1", 7000), ("::1", 7001)), None, "", "p")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:secret@h:1/2", "redis://h:1/2"),
        ("rediss://u:secret@[::1]:1", "rediss://[::1]:1/0"),
        ("unix://u:secret@/run/r.sock", "unix:///run/r.sock"),
        ("redis+sentinel://:secret@h1,h2/m?sentinel_password=secret", "redis+sentinel://h1:26379,h2:26379/m/0"),
        ("rediss+cluster://:secret@h1:7000", "rediss+cluster://h1:7000"),
    ],
)
def test_what_is_shown_holds_no_secret(url: str, shown: str) -> None:
    found = redis_address("X", url)
    assert found.shown == shown
    assert "secret" not in found.without_secrets("somebody said secret, and secret again")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "h:1",
            "redis://",
            "redis://h:0",
            "redis://h:x",
            "redis://h/name",
            "redis://h1,h2",
            "redisss://h",
            "http://h",
        ),
        *(
            "redis+sentinel://h",
            "redis+sentinel://h/m/x",
            "redis+sentinel:///m",
            "redis+sentinel://h/m?password=secret",
        ),
        *("redis+cluster://", "redis+cluster://h/1", "redis+cluster://h,", "unix+cluster://h", "rediss+other://h"),
    ],
)
def test_what_is_no_redis_address(url: str) -> None:
    with pytest.raises(SettingsError, match="X") as refused:
        redis_address("X", url)
    assert "secret" not in str(refused.value)


def test_http_addresses() -> None:
    assert http_address("X", "http://h/a?b=c") == HttpAddress("h", 80, "/a?b=c", None)
    assert http_address("X", "https://[::1]:8443", FILES) == HttpAddress("::1", 8443, "", FILES)
    for url in ("ftp://h", "http://", "http://me:pw@h", "http://h/a b", "http://h\r\nX: 1"):
        with pytest.raises(SettingsError):
            http_address("X", url)
