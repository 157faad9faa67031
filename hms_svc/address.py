"""Addresses out of settings: http, https, redis, rediss and unix URLs, taken apart and shown without their secrets.

Errors name the setting and never repeat the URL, for it may carry a password. By hand, because urllib.parse would cost
every pod half a megabyte.
"""

from typing import NamedTuple


class SettingsError(Exception):
    """One setting is missing or makes no sense; the text names the variable and says what would be right."""


class RedisAddress(NamedTuple):
    """Where Redis is. `path` is set for a unix socket, and then host and port mean nothing."""

    host: str
    port: int
    path: str
    tls: bool
    user: str
    password: str
    db: int

    @property
    def shown(self) -> str:
        """The address for people and logs: without user and password."""
        if self.path:
            return f"unix://{self.path}"
        return f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}/{self.db}"


class HttpAddress(NamedTuple):
    """An http or https URL, taken apart."""

    host: str
    port: int
    path: str
    tls: bool

    @property
    def shown(self) -> str:
        """The URL without user and password (`path` has no query when it is a base URL)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path.partition('?')[0]}"


def http_address(name: str, url: str) -> HttpAddress:
    """Take an http(s) URL apart; user and password are refused (a token has its own variable)."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("http", "https"):
        raise SettingsError(f"{name}: http://host:port or https://host:port is expected")
    authority, slash, path = rest.partition("/")
    if "@" in authority or not (rest.isascii() and rest.isprintable()) or " " in rest:
        raise SettingsError(f"{name}: no user, password, spaces or non-ASCII in this URL")
    host, port = _host_port(name, authority, 443 if scheme == "https" else 80)
    return HttpAddress(host, port, slash + path, scheme == "https")


def redis_address(name: str, url: str) -> RedisAddress:
    """Take a Redis URL apart. Errors never repeat the URL: it may carry a password."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("redis", "rediss", "unix"):
        raise SettingsError(f"{name}: redis://[user:pass@]host:port/db, rediss://... or unix:///path is expected")
    credentials, _, place = rest.rpartition("@")
    user, _, password = credentials.partition(":")
    user, password = _unquote(user), _unquote(password)
    if scheme == "unix":
        path, _, query = place.partition("?")
        return RedisAddress("", 0, path, False, user, password, _db(name, query.removeprefix("db=")))
    authority, _, db = place.partition("/")
    host, port = _host_port(name, authority, 6379)
    return RedisAddress(host, port, "", scheme == "rediss", user, password, _db(name, db))


def _db(name: str, text: str) -> int:
    if text and not text.isdecimal():
        raise SettingsError(f"{name}: the database after the port must be a number")
    return int(text or 0)


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
