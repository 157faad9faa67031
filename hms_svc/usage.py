"""The help, for somebody who meets the agent for the first time: 80 columns, examples first, settings in groups.

The settings' words come from their own table. A setting that no group names stands under the last one, so none is lost.
"""

import textwrap

from hms_svc.settings import TABLE, Row

WIDTH = 80

TOP = """\
hms-svc: the HMS sidecar. It keeps one service's conf.yml equal to the base plus
the patches that are approved and in force now, reloads the service, and
confirms the effect.

usage:
  hms-svc run            work until SIGTERM: listen, apply, confirm, report
  hms-svc run --once     load the snapshot, apply, confirm, report, and leave
  hms-svc run --dry-run  show what that would change, and change nothing
  hms-svc check          is everything in place? one line each, with a hint
  hms-svc status         what the agent beside is doing, and each patch it holds
  hms-svc COMMAND --help

a first run, beside an nginx whose limits stand in /etc/service/conf.yml:
  export TENANT=IACB HMS_SERVICE=ARTIST_REGISTRY_API HMS_VERSION=2.1.0
  export HMS_TRUST=/etc/hms/trust.json HMS_REDIS_URL=redis://127.0.0.1:6379/0
  export HMS_RENDER=/etc/hms/nginx.conf.tmpl:/etc/nginx/nginx.conf
  export HMS_CHECK='nginx -t -q -c {rendered}'
  export HMS_PIDFILE=/run/nginx.pid HMS_PROCESS=nginx
  export HMS_PROBE_URL=http://127.0.0.1:8080/
  export HMS_PROBE_HEADER='X-RPS-Limit: {{rate_limit_rps}}'
  hms-svc check && hms-svc run

exit codes, the same for every command:
  0  done; everything is as it should be
  1  it is not: something is missing (check), not applied, confirmed or reported
     (run --once), failed, stale or not running (status), or something would
     change (run --dry-run)
  2  a setting or flag is missing or wrong; the line on stderr names it
  3  it could not be told (run --dry-run)

Logs are one JSON object a line on stderr, and only when something happens.
"""

RUN = """\
usage: hms-svc run [--once | --dry-run] [--flag value ...]

Works until SIGTERM or SIGINT. Each setting is a variable and a flag of the same
name; the flag wins.

  --once     load the snapshot, apply, confirm, report, leave; one line says how
             it went; exit 0 when all of it worked, 1 when not
  --dry-run  show as a diff what conf.yml and the rendered files would become,
             run HMS_CHECK on that, and change nothing: no reload, no report,
             no journal; works beside a running agent; the diff shows values;
             exit 0 nothing would change, 1 something would, 3 it cannot be
             told (nobody to ask, a message refused, a gap, HMS_CHECK says no)

examples:
  hms-svc run --listen 0.0.0.0:9108
  hms-svc run --dry-run --redis-url redis://127.0.0.1:6379/0

{settings}"""

CHECK = """\
usage: hms-svc check [-o json] [--flag value ...]

Looks at each thing `run` needs, with the same settings: files, state, trust,
the process, Redis and what it permits, MGT, the check command, the probe, the
clock. One line each; below each that is not in place, what to do. Changes
nothing and signals nobody; works beside a running agent. HMS_CHECK and
HMS_PROBE_COMMAND are run once.

  -o json  {{"ok": ..., "checks": [{{"name": ..., "ok", "words", "hint"}}, ...]}}

exit 0 all in place, 1 something is not, 2 a setting or flag is wrong

`hms-svc run --help` lists the settings.
"""

STATUS = """\
usage: hms-svc status [-o json | --live | --ready] [--state DIR]

Asks the agent through the socket in its state directory, as the agent's user.
Of an agent that does not run it shows the journal, and then needs its settings.
Shows key paths, never values.

  -o json     everything, for machines
  --live      only: does the loop turn? exit 0 or 1; what /livez answers
  --ready     only: was the service seen working since the agent started? exit 0
              or 1; what /readyz answers, for a probe without a port

exit 0 runs, steady and fresh; 1 not so (applying, failed, stale, not running);
2 a setting is missing or wrong

examples:
  hms-svc status
  hms-svc status -o json | jq '.patches[] | select(.stage != "effective")'
"""

GROUPS = (
    (
        "Who this is (required: TENANT, HMS_SERVICE, HMS_VERSION)",
        ("TENANT", "HMS_SERVICE", "HMS_VERSION", "HMS_INSTANCE", "HMS_URL"),
    ),
    ("Whom it believes (required: HMS_TRUST)", ("HMS_TRUST",)),
    ("Whom it listens to", ("HMS_REDIS", "HMS_MGT", "HMS_TOKEN", "HMS_TLS")),
    ("What it writes", ("HMS_CONF", "HMS_RENDER", "HMS_STATE")),
    ("What it reloads", ("HMS_CHECK", "HMS_PIDFILE", "HMS_PROCESS", "HMS_SIGNAL", "HMS_RELOAD")),
    ("How it sees the effect", ("HMS_PROBE", "HMS_CONFIRM_TIMEOUT", "HMS_BAKE")),
    ("Everything else", ("",)),
)


def usage(command: str) -> str:
    """The help of one command, or of all of them."""
    page = {"run": RUN, "check": CHECK, "status": STATUS}.get(command)
    return TOP if page is None else page.format(settings=_settings())


def _settings() -> str:
    return "\n".join(f"{title}:\n{''.join(map(_row, rows))}" for title, rows in _grouped() if rows)


def _grouped() -> list[tuple[str, list[Row]]]:
    """Each row under the first group that names it, or the beginning of it."""
    homes = {row.env: next(title for title, names in GROUPS if _named(row, names)) for row in TABLE}
    return [(title, [row for row in TABLE if homes[row.env] == title]) for title, _ in GROUPS]


def _named(row: Row, names: tuple[str, ...]) -> bool:
    exact = row.env in names
    return exact or (row.env not in _SAID and any(row.env.startswith(name) for name in names))


_SAID = {name for _, names in GROUPS for name in names}


def _row(row: Row) -> str:
    default = f" [{row.default}]" if row.default and not row.default.startswith("@") else ""
    words = textwrap.fill(f"{row.words}{default}", WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"  {row.env}, {row.flag}\n{words}\n"
