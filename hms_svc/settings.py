"""What the agent is told by its environment, read once and checked before anything starts.

Containers speak environment, people try things with flags, so each setting is one row of `TABLE` and has
both. The table is also the text of `--help`, so the two cannot drift apart. argparse and urllib stay out:
together they would cost every pod most of a megabyte for forty lines of work.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from hms_svc import evidence, values
from hms_svc.address import HttpAddress, RedisAddress, SettingsError, TlsFiles, http_address
from hms_svc.evidence import Evidence


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
        "redis://[user:pass@]host:port/db, rediss://, unix:///path, redis+sentinel://h1,h2/master, redis+cluster://h1,h2",
    ),
    Row("HMS_REDIS_URL_FILE", "", "file that holds HMS_REDIS_URL, read again for each connection"),
    Row("HMS_MGT_URL", "", "control plane, asked over HTTP when Redis has no snapshot or is down"),
    Row("HMS_TLS_CA", "", "PEM file of the CAs that Redis and MGT are verified with, instead of the system's"),
    Row("HMS_TLS_CERT", "", "PEM file of our own certificate, for a Redis or an MGT that asks for one"),
    Row("HMS_TLS_KEY", "", "PEM file of its key, where the certificate's file does not hold it"),
    Row("HMS_TOKEN", "", "bearer token for HMS_MGT_URL (prefer the variable: flags show in `ps`)"),
    Row("HMS_TOKEN_FILE", "", "file that holds HMS_TOKEN, read again for each request"),
    Row("HMS_RENDER", "", "files rendered beside conf.yml: template:target[,template:target]"),
    Row("HMS_CHECK", "", "command run on the candidate, e.g. `nginx -t -q -c {rendered}`; also {conf}"),
    Row("HMS_PIDFILE", "", "pid file of the served process"),
    Row("HMS_PROCESS", "", "name of the served process, e.g. nginx"),
    Row("HMS_SIGNAL", "HUP", "signal that makes the process reload"),
    Row("HMS_RELOAD", "", "command that makes the process reload, instead of a signal"),
    Row("HMS_PROBE_URL", "", "asked after a reload until it answers with the new configuration"),
    Row("HMS_PROBE_STATUS", "", "which status counts, e.g. 200, 200-299 or 200,204"),
    Row("HMS_PROBE_HEADER", "", "what the answer must carry, e.g. `X-RPS-Limit: {{rate_limit_rps}}`"),
    Row("HMS_PROBE_BODY", "", "text the answer must contain, e.g. `limit={{rate_limit_rps}}`"),
    Row("HMS_PROBE_TCP", "", "instead of a URL: host:port that must accept a connection"),
    Row("HMS_PROBE_COMMAND", "", "instead of a URL: command that must end with 0; {conf} is the file's path"),
    Row("HMS_CONFIRM_TIMEOUT", "10", "seconds a reload may take to show in the probe"),
    Row("HMS_BAKE", "30", "seconds in effect without a break until files count as known to be good"),
    Row("HMS_LISTEN", "", "address:port where /livez, /readyz and /metrics are served, e.g. 0.0.0.0:9108"),
)


SWITCHES = ("--once", "--dry-run")  # those of `run` that are no settings


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
    probe: Evidence | None
    confirm_timeout: float
    bake: float
    listen: tuple[str, int] | None
    tls: TlsFiles
    redis_file: str
    token_file: str

    @property
    def channel(self) -> str:
        """Where the control plane speaks to this tenant."""
        return f"cfg::{self.tenant}"

    @property
    def snapshot_key(self) -> str:
        """Where Redis has the stream's snapshot."""
        return f"cfg-state::{self.tenant}::{self.service}"

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that are ours to write: conf.yml, and what is rendered from it."""
        return (self.conf, *(target for _, target in self.render))

    @property
    def reloads(self) -> bool:
        """Whether anything has to be told that the file changed."""
        return bool(self.reload or self.pidfile or self.process)

    def redis_now(self) -> RedisAddress:
        """Redis' address for a new connection: `redis`, or what its file says by now; SettingsError when it cannot."""
        return values.redis_in_file(self.redis_file, self.tls) if self.redis_file else self.redis

    def token_now(self) -> str:
        """The token for a new request: `token`, or what its file says by now; SettingsError when it cannot."""
        return values.token_in_file(self.token_file) if self.token_file else self.token


def read(environ: Mapping[str, str], arguments: Sequence[str] = ()) -> Settings:
    """Settings from the environment, overridden by flags; SettingsError names the first thing that is wrong."""
    given = _given(environ, arguments)
    tls = values.tls_files(given)
    redis_file, token_file = (values.path(name, given) for name in ("HMS_REDIS_URL_FILE", "HMS_TOKEN_FILE"))
    return Settings(
        tenant=values.identifier("TENANT", given),
        service=values.identifier("HMS_SERVICE", given),
        version=values.version(given),
        trust=given["HMS_TRUST"],
        instance=values.instance(given),
        url=given["HMS_URL"],
        conf=values.absolute("HMS_CONF", given),
        state=values.absolute("HMS_STATE", given),
        redis=values.redis_in_file(redis_file, tls) if redis_file else values.redis(given["HMS_REDIS_URL"], tls),
        mgt=http_address("HMS_MGT_URL", given["HMS_MGT_URL"], tls) if given["HMS_MGT_URL"] else None,
        token=values.token_in_file(token_file) if token_file else values.token("HMS_TOKEN", given["HMS_TOKEN"]),
        render=values.pairs("HMS_RENDER", given),
        check=values.command("HMS_CHECK", given),
        pidfile=given["HMS_PIDFILE"],
        process=given["HMS_PROCESS"],
        signal=values.signal_number(given),
        reload=values.command("HMS_RELOAD", given),
        probe=evidence.read(given, values.command("HMS_PROBE_COMMAND", given)),
        confirm_timeout=values.seconds("HMS_CONFIRM_TIMEOUT", given),
        bake=values.seconds("HMS_BAKE", given),
        listen=values.listen(given),
        tls=tls,
        redis_file=redis_file,
        token_file=token_file,
    )


def state_directory(environ: Mapping[str, str], arguments: Sequence[str] = ()) -> str:
    """HMS_STATE alone: asking an agent how it is needs no more."""
    row = next(row for row in TABLE if row.env == "HMS_STATE")
    value = _flags(arguments).get(row.flag) or environ.get(row.env) or row.default
    return values.absolute("HMS_STATE", {"HMS_STATE": value or ""})


def _given(environ: Mapping[str, str], arguments: Sequence[str]) -> dict[str, str]:
    flags = _flags(arguments)
    found: dict[str, str] = {}
    for row in TABLE:
        value = flags.get(row.flag) or environ.get(row.env) or row.default
        if value is None:
            raise SettingsError(f"{row.env} (or {row.flag}) is required: {row.words}")
        if not _is_text(value):
            raise SettingsError(f"{row.env} (or {row.flag}): text in UTF-8 is expected")
        found[row.env] = value
    for name in ("HMS_REDIS_URL", "HMS_TOKEN"):
        if found[f"{name}_FILE"] and (flags.get(Row(name, "", "").flag) or environ.get(name)):
            raise SettingsError(f"{name} and {name}_FILE: set one of them")
    return found


def _is_text(value: str) -> bool:
    """Whether it can be said again: bytes that are no UTF-8 come as halves of letters, which nothing takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flags(arguments: Sequence[str]) -> dict[str, str]:
    known = {row.flag for row in TABLE}
    flags: dict[str, str] = {}
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if name not in known:
            raise SettingsError(f"{name}: there is no such flag; {_meant(name, known)}")
        try:
            flags[name] = value if equals else next(waiting)
        except StopIteration:
            raise SettingsError(f"{name}: a value must follow") from None
    return flags


def _meant(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for those who mistyped

    alike = get_close_matches(name, [*SWITCHES, *sorted(known)], 1, 0.6)
    return f"did you mean {alike[0]}?" if alike else "`hms-svc run --help` lists them"
