"""Addresses out of settings: http, https and Redis URLs, taken apart and shown without their secrets.

Errors name the setting and never repeat the URL, for it may carry a password. By hand, because urllib.parse would cost
every pod half a megabyte.
"""

from typing import Literal, NamedTuple

Kind = Literal["server", "socket", "sentinel", "cluster"]

_SCHEMES: dict[str, tuple[Kind, int]] = {
    "redis": ("server", 6379),
    "unix": ("socket", 0),
    "redis+sentinel": ("sentinel", 26379),
    "redis+cluster": ("cluster", 6379),
}
_WANTED = "redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, redis+cluster:// or rediss+cluster://"


class SettingsError(Exception):
    """One setting is missing or makes no sense; the text names the variable and says what would be right."""


class TlsFiles(NamedTuple):
    """What TLS is done with, as PEM files: whom to believe ("" = the system's CAs), and our own certificate."""

    ca: str = ""
    cert: str = ""
    key: str = ""


class RedisAddress(NamedTuple):
    """Where Redis is: one server, a unix socket, or those who know where it is now. `tls` is None for plain text."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    tls: TlsFiles | None
    user: str
    password: str
    db: int = 0
    path: str = ""
    master: str = ""
    sentinel_user: str = ""
    sentinel_password: str = ""

    @property
    def shown(self) -> str:
        """The address for people and logs: without user and password."""
        if self.kind == "socket":
            return f"unix://{self.path}"
        scheme = ("rediss" if self.tls else "redis") + ("" if self.kind == "server" else f"+{self.kind}")
        hosts = ",".join(f"{_bracketed(host)}:{port}" for host, port in self.hosts)
        tail = {"server": f"/{self.db}", "sentinel": f"/{self.master}/{self.db}"}.get(self.kind, "")
        return f"{scheme}://{hosts}{tail}"

    def at(self, host: str, port: int) -> "RedisAddress":
        """One server of it, spoken to in the same way."""
        return self._replace(kind="server", hosts=((host, port),))

    def without_secrets(self, text: str) -> str:
        """Somebody else's words with our passwords taken out, should they repeat them, and of a bearable length."""
        for secret in (self.password, self.sentinel_password):
            text = text.replace(secret, "***") if secret else text
        return text[:300]


class HttpAddress(NamedTuple):
    """An http or https URL, taken apart. `tls` is None for plain text."""

    host: str
    port: int
    path: str
    tls: TlsFiles | None

    @property
    def shown(self) -> str:
        """The URL without user and password (`path` has no query when it is a base URL)."""
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{_bracketed(self.host)}:{self.port}{self.path.partition('?')[0]}"


def http_address(name: str, url: str, files: TlsFiles = TlsFiles()) -> HttpAddress:  # noqa: B008 - it is immutable
    """Take an http(s) URL apart; user and password are refused (a token has its own variable)."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("http", "https"):
        raise SettingsError(f"{name}: http://host:port or https://host:port is expected")
    authority, slash, path = rest.partition("/")
    if "@" in authority or not (rest.isascii() and rest.isprintable()) or " " in rest:
        raise SettingsError(f"{name}: no user, password, spaces or non-ASCII in this URL")
    host, port = _host_port(name, authority, 443 if scheme == "https" else 80)
    return HttpAddress(host, port, slash + path, files if scheme == "https" else None)


def redis_address(name: str, url: str, files: TlsFiles = TlsFiles()) -> RedisAddress:  # noqa: B008 - as above
    """Take a Redis URL apart. Errors never repeat the URL: it may carry a password."""
    scheme, separator, rest = url.partition("://")
    known = _SCHEMES.get(scheme.replace("rediss", "redis", 1))
    if not separator or known is None:
        raise SettingsError(f"{name}: {_WANTED} is expected")
    kind, port = known
    rest, _, query = rest.partition("?") if kind in ("socket", "sentinel") else (rest, "", "")
    credentials, _, place = rest.rpartition("@")
    user, _, password = credentials.partition(":")
    tls = files if scheme.startswith("rediss") else None
    plain = RedisAddress("socket", (), tls, _unquote(user), _unquote(password))
    if kind == "socket":
        return plain._replace(path=place, db=_db(name, query.removeprefix("db=")))
    authority, _, tail = place.partition("/")
    hosts = tuple(_host_port(name, one, port) for one in authority.split(","))
    found = plain._replace(kind=kind, hosts=hosts)
    return {"server": _server, "sentinel": _sentinel, "cluster": _cluster}[kind](name, found, tail, query)


def _server(name: str, found: RedisAddress, tail: str, _: str) -> RedisAddress:
    if len(found.hosts) > 1:
        raise SettingsError(f"{name}: several hosts need redis+sentinel:// or redis+cluster://")
    return found._replace(db=_db(name, tail))


def _sentinel(name: str, found: RedisAddress, tail: str, query: str) -> RedisAddress:
    master, _, db = tail.partition("/")
    given = dict(pair.partition("=")[::2] for pair in filter(None, query.split("&")))
    if not master or not set(given) <= {"sentinel_user", "sentinel_password"}:
        shape = "redis+sentinel://host:26379,host:26379/master[/db][?sentinel_user=...&sentinel_password=...]"
        raise SettingsError(f"{name}: {shape} is expected")
    user, password = (_unquote(given.get(key, "")) for key in ("sentinel_user", "sentinel_password"))
    return found._replace(master=_unquote(master), db=_db(name, db), sentinel_user=user, sentinel_password=password)


def _cluster(name: str, found: RedisAddress, tail: str, _: str) -> RedisAddress:
    if tail not in ("", "0"):
        raise SettingsError(f"{name}: a cluster has no databases; redis+cluster://host:port,host:port is expected")
    return found


def _db(name: str, text: str) -> int:
    if text and not text.isdecimal():
        raise SettingsError(f"{name}: the database at the end must be a number")
    return int(text or 0)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _host_port(name: str, authority: str, default: int) -> tuple[str, int]:
    if authority.startswith("["):
        host, _, port = authority[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = authority.partition(":")
    if not host or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise SettingsError(f"{name}: the host is missing or the port is no number from 1 to 65535")
    return host, int(port or default)


def _unquote(text: str) -> str:
    """Percent-decoding, as passwords in URLs need it."""
    head, *parts = text.split("%")
    raw = head.encode()
    for part in parts:
        try:
            raw += bytes.fromhex(part[:2]) + part[2:].encode()
        except ValueError:
            raw += b"%" + part.encode()
    return raw.decode("utf-8", "replace")
