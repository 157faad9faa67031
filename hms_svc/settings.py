"""What the agent is told by its environment, read once and checked before anything starts.

Containers speak environment, people try things with flags, so each setting is one row of `TABLE` and has
both. The table is also the text of `--help`, so the two cannot drift apart. argparse and urllib stay out:
together they would cost every pod most of a megabyte for forty lines of work.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hms_svc.address import HttpAddress, RedisAddress, SettingsError, http_address, redis_address


class Row(NamedTuple):
    """One setting: its variable, its default (None = required, "" = off) and one line of help."""

    env: str
    default: str | None
    words: str

    @property
    def flag(self) -> str:
        """The command line's name of it: `HMS_CHECK` is `--check`."""
        return "--" + self.env.removeprefix("HMS_").lower().replace("_", "-")


TABLE = (
    Row("TENANT", None, "the agency this instance serves, e.g. IACB"),
    Row("HMS_SERVICE", None, "the service, e.g. ARTIST_REGISTRY_API"),
    Row("HMS_VERSION", None, "the running version, e.g. 2.1.0 (selectors match on it)"),
    Row("HMS_TRUST", None, "file with the public keys of GOV and MGT; nothing else is believed"),
    Row("HMS_INSTANCE", "@hostname", "name of this copy; default: the host name"),
    Row("HMS_URL", "", "where this instance serves, e.g. http://10.0.0.7:8080 (reported for discovery)"),
    Row("HMS_CONF", "/etc/service/conf.yml", "the file that is kept equal to fold(base, active patches)"),
    Row("HMS_STATE", "/var/lib/hms-svc", "directory of the journal; must outlive the agent's own restarts"),
    Row(
        "HMS_REDIS_URL",
        "redis://127.0.0.1:6379/0",
        "redis://[user:pass@]host:port/db, rediss://, unix:///path",
    ),
    Row("HMS_MGT_URL", "", "control plane, asked over HTTP when Redis has no snapshot or is down"),
    Row("HMS_TOKEN", "", "bearer token for HMS_MGT_URL (prefer the variable: flags show in `ps`)"),
    Row("HMS_RENDER", "", "files rendered beside conf.yml: template:target[,template:target]"),
    Row("HMS_CHECK", "", "command run on the candidate, e.g. `nginx -t -q -c {rendered}`; also {conf}"),
    Row("HMS_PIDFILE", "", "pid file of the served process"),
    Row("HMS_PROCESS", "", "name of the served process, e.g. nginx"),
    Row("HMS_SIGNAL", "HUP", "signal that makes the process reload"),
    Row("HMS_RELOAD", "", "command that makes the process reload, instead of a signal"),
    Row("HMS_PROBE_URL", "", "asked after a reload until it answers with the new configuration"),
    Row("HMS_PROBE_HEADER", "", "what the answer must carry, e.g. `X-RPS-Limit: {{rate_limit_rps}}`"),
    Row("HMS_CONFIRM_TIMEOUT", "10", "seconds a reload may take to show in the probe"),
)


class Settings(NamedTuple):
    """Everything the agent was told, typed."""

    tenant: str
    service: str
    version: str
    trust: str
    instance: str
    url: str
    conf: str
    state: str
    redis: RedisAddress
    mgt: HttpAddress | None
    token: str
    render: tuple[tuple[str, str], ...]
    check: tuple[str, ...]
    pidfile: str
    process: str
    signal: int
    reload: tuple[str, ...]
    probe: HttpAddress | None
    probe_header: tuple[str, str] | None
    confirm_timeout: float

    @property
    def reloads(self) -> bool:
        """Whether anything has to be told that the file changed."""
        return bool(self.reload or self.pidfile or self.process)


def read(environ: Mapping[str, str], arguments: Sequence[str] = ()) -> Settings:
    """Settings from the environment, overridden by flags; SettingsError names the first thing that is wrong."""
    given = _given(environ, arguments)
    return Settings(
        tenant=_identifier("TENANT", given),
        service=_identifier("HMS_SERVICE", given),
        version=_version(given),
        trust=given["HMS_TRUST"],
        instance=_instance(given),
        url=given["HMS_URL"],
        conf=_absolute("HMS_CONF", given),
        state=_absolute("HMS_STATE", given),
        redis=redis_address("HMS_REDIS_URL", given["HMS_REDIS_URL"]),
        mgt=_address("HMS_MGT_URL", given),
        token=_token(given),
        render=_pairs("HMS_RENDER", given),
        check=_command("HMS_CHECK", given),
        pidfile=given["HMS_PIDFILE"],
        process=given["HMS_PROCESS"],
        signal=_signal(given),
        reload=_command("HMS_RELOAD", given),
        probe=_address("HMS_PROBE_URL", given),
        probe_header=_header(given),
        confirm_timeout=_seconds("HMS_CONFIRM_TIMEOUT", given),
    )


def _given(environ: Mapping[str, str], arguments: Sequence[str]) -> dict[str, str]:
    flags = _flags(arguments)
    found: dict[str, str] = {}
    for row in TABLE:
        value = flags.get(row.flag) or environ.get(row.env) or row.default
        if value is None:
            raise SettingsError(f"{row.env} (or {row.flag}) is required: {row.words}")
        found[row.env] = value
    return found


def _flags(arguments: Sequence[str]) -> dict[str, str]:
    known = {row.flag for row in TABLE}
    flags: dict[str, str] = {}
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if name not in known:
            raise SettingsError(f"{name}: there is no such flag; `hms-svc run --help` lists them")
        try:
            flags[name] = value if equals else next(waiting)
        except StopIteration:
            raise SettingsError(f"{name}: a value must follow") from None
    return flags


def _identifier(name: str, given: Mapping[str, str]) -> str:
    text = given[name]
    plain = text.replace("-", "").replace("_", "")
    # The name becomes part of Redis keys and channels, where `*`, `?`, `[` and `:` would reach other tenants.
    if not (plain.isascii() and plain.isalnum() and text[0].isalnum() and len(text) <= 63):
        raise SettingsError(f"{name}={text!r}: letters, digits, `-` and `_` only, a letter or digit first, at most 63")
    return text


def _instance(given: Mapping[str, str]) -> str:
    text = given["HMS_INSTANCE"]
    return os.uname().nodename if text == "@hostname" else text


def _version(given: Mapping[str, str]) -> str:
    from hms_svc.selector import Version  # noqa: PLC0415 - `--help` needs no parser

    text = given["HMS_VERSION"]
    try:
        Version.parse(text)
    except ValueError as error:
        raise SettingsError(f"HMS_VERSION={text!r}: {error}") from None
    return text


def _absolute(name: str, given: Mapping[str, str]) -> str:
    return os.path.abspath(given[name])  # noqa: PTH100 - pathlib costs a megabyte


def _token(given: Mapping[str, str]) -> str:
    token = given["HMS_TOKEN"]
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise SettingsError("HMS_TOKEN: visible ASCII without spaces only")
    return token


def _pairs(name: str, given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for item in filter(None, given[name].split(",")):
        template, _, target = item.strip().partition(":")
        if not template or not target:
            raise SettingsError(
                f"{name}={item!r}: write template:target, e.g. /etc/hms/nginx.conf.tmpl:/etc/nginx/nginx.conf"
            )
        pairs.append((os.path.abspath(template), os.path.abspath(target)))  # noqa: PTH100 - as above
    return tuple(pairs)


def _command(name: str, given: Mapping[str, str]) -> tuple[str, ...]:
    if not given[name]:
        return ()
    import shlex  # noqa: PLC0415 - only for those who set a command

    try:
        return tuple(shlex.split(given[name]))
    except ValueError as error:
        raise SettingsError(f"{name}={given[name]!r}: {error}") from None


def _signal(given: Mapping[str, str]) -> int:
    text = given["HMS_SIGNAL"].upper()
    name = text if text.startswith("SIG") else f"SIG{text}"
    number = int(text) if text.isdigit() else getattr(signal, name, 0)
    if not 0 < number < signal.NSIG or number in (signal.SIGKILL, signal.SIGSTOP):
        raise SettingsError(f"HMS_SIGNAL={given['HMS_SIGNAL']!r}: a signal name such as HUP or USR1")
    return int(number)


def _header(given: Mapping[str, str]) -> tuple[str, str] | None:
    text = given["HMS_PROBE_HEADER"]
    if not text:
        return None
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise SettingsError(f"HMS_PROBE_HEADER={text!r}: write `Name: value`")
    if not given["HMS_PROBE_URL"]:
        raise SettingsError("HMS_PROBE_HEADER needs HMS_PROBE_URL: there is no answer to look at")
    return name.strip().lower(), value.strip()


def _seconds(name: str, given: Mapping[str, str]) -> float:
    try:
        value = float(given[name])
    except ValueError:
        value = 0.0
    if not 0 < value <= 600:
        raise SettingsError(f"{name}={given[name]!r}: seconds, above 0 and at most 600")
    return value


def _address(name: str, given: Mapping[str, str]) -> HttpAddress | None:
    return http_address(name, given[name]) if given[name] else None
