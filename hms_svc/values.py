"""Makes each setting's text a value, or raises SettingsError with one line that says what would be right.

`given` is the text of every setting by its variable. URLs are for `address` to take apart, probes for `evidence`.
Secrets may lie in files, read again whenever they are needed, for mounted ones are replaced while we run. Errors name
the setting and the path, and never show what was read.
"""

import os
import signal
import socket
from collections.abc import Mapping

from hms_svc.address import RedisAddress, SettingsError, TlsFiles, redis_address


def identifier(name: str, given: Mapping[str, str]) -> str:
    """A tenant's or a service's name."""
    text = given[name]
    plain = text.replace("-", "").replace("_", "")
    # The name becomes part of Redis keys and channels, where `*`, `?`, `[` and `:` would reach other tenants.
    if not (plain.isascii() and plain.isalnum() and text[0].isalnum() and len(text) <= 63):
        raise SettingsError(f"{name}={text!r}: letters, digits, `-` and `_` only, a letter or digit first, at most 63")
    return text


def instance(given: Mapping[str, str]) -> str:
    """The name of this copy: the host name, unless another is given."""
    text = given["HMS_INSTANCE"]
    return os.uname().nodename if text == "@hostname" else text


def version(given: Mapping[str, str]) -> str:
    """A semantic version, as given."""
    from hms_svc.selector import Version  # noqa: PLC0415 - `--help` needs no parser

    text = given["HMS_VERSION"]
    try:
        Version.parse(text)
    except ValueError as error:
        raise SettingsError(f"HMS_VERSION={text!r}: {error}") from None
    return text


def absolute(name: str, given: Mapping[str, str]) -> str:
    """A path, from the root."""
    return os.path.abspath(given[name])  # noqa: PTH100 - pathlib costs a megabyte


def path(name: str, given: Mapping[str, str]) -> str:
    """As `absolute`, or "" where none is given."""
    return absolute(name, given) if given[name] else ""


def redis(url: str, tls: TlsFiles) -> RedisAddress:
    """Redis' address, taken apart."""
    return redis_address("HMS_REDIS_URL", url, tls)


def redis_in_file(path: str, tls: TlsFiles) -> RedisAddress:
    """As `redis`, from the file that holds it."""
    return redis_address("HMS_REDIS_URL_FILE", _from_file("HMS_REDIS_URL_FILE", path), tls)


def _from_file(name: str, path: str) -> str:
    """The secret in the file that the setting `name` points to, without the line's end."""
    from hms_svc.conf_file import read_text  # noqa: PLC0415 - only for those who keep secrets in files

    try:
        text = read_text(path)
    except OSError as error:
        raise SettingsError(f"{name}={path}: {error.strerror}; a file that this user may read is expected") from None
    except ValueError:
        raise SettingsError(f"{name}={path}: a small text file is expected") from None
    if text is None:
        raise SettingsError(f"{name}={path}: no such file")
    secret = text.rstrip("\r\n")
    if not secret:
        raise SettingsError(f"{name}={path}: the file is empty")
    return secret


def token_in_file(path: str) -> str:
    """As `token`, from the file that holds it."""
    return token("HMS_TOKEN_FILE", _from_file("HMS_TOKEN_FILE", path))


def token(name: str, token: str) -> str:
    """A token that can stand in a header."""
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise SettingsError(f"{name}: visible ASCII without spaces only")
    return token


def pairs(name: str, given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The templates and their targets."""
    pairs = []
    for item in filter(None, given[name].split(",")):
        template, _, target = item.strip().partition(":")
        if not template or not target:
            raise SettingsError(
                f"{name}={item!r}: write template:target, e.g. /etc/hms/nginx.conf.tmpl:/etc/nginx/nginx.conf"
            )
        pairs.append((os.path.abspath(template), os.path.abspath(target)))  # noqa: PTH100 - as above
    return tuple(pairs)


def command(name: str, given: Mapping[str, str]) -> tuple[str, ...]:
    """A command, split as a shell would."""
    if not given[name]:
        return ()
    import shlex  # noqa: PLC0415 - only for those who set a command

    try:
        return tuple(shlex.split(given[name]))
    except ValueError as error:
        raise SettingsError(f"{name}={given[name]!r}: {error}") from None


def signal_number(given: Mapping[str, str]) -> int:
    """A signal that a process can handle, by name or number."""
    text = given["HMS_SIGNAL"].upper()
    name = text if text.startswith("SIG") else f"SIG{text}"
    number = int(text) if text.isascii() and text.isdigit() else signal.Signals.__members__.get(name, 0)
    if not 0 < number < signal.NSIG or number in (signal.SIGKILL, signal.SIGSTOP):
        raise SettingsError(f"HMS_SIGNAL={given['HMS_SIGNAL']!r}: a signal name such as HUP or USR1")
    return int(number)


def seconds(name: str, given: Mapping[str, str]) -> float:
    """A span, above 0 and bounded."""
    try:
        value = float(given[name])
    except ValueError:
        value = 0.0
    if not 0 < value <= 600:
        raise SettingsError(f"{name}={given[name]!r}: seconds, above 0 and at most 600")
    return value


def listen(given: Mapping[str, str]) -> tuple[str, int] | None:
    """An address and a port; None where no port is wanted."""
    text = given["HMS_LISTEN"]
    if not text:
        return None
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    if not _is_ip(host) or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise SettingsError(f"HMS_LISTEN={text!r}: an IP address and a port, e.g. 127.0.0.1:9108 or [::]:9108")
    return host, int(port)


def _is_ip(host: str) -> bool:
    """Whether it needs no look-up: that could take its time, and the loop has none."""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return False
    return True


def tls_files(given: Mapping[str, str]) -> TlsFiles:
    """The files' paths; what is in them is read at each dial."""
    names = ("HMS_TLS_CA", "HMS_TLS_CERT", "HMS_TLS_KEY")
    paths = [absolute(name, given) if given[name] else "" for name in names]
    for name, path in zip(names, paths, strict=True):
        if path and not os.access(path, os.R_OK):
            raise SettingsError(f"{name}={path}: a PEM file that this user may read is expected")
    if paths[2] and not paths[1]:
        raise SettingsError("HMS_TLS_KEY needs HMS_TLS_CERT: the certificate that belongs to the key")
    return TlsFiles(*paths)
