"""`hms-svc`: run the agent, or check that everything it needs is in place.

The help is written for somebody who meets the agent for the first time, and is made from the settings' own
table. Flags are read by hand: argparse would sit in every pod for a screen of text.
"""

import os
import sys
from collections.abc import Sequence

from hms_svc.address import SettingsError
from hms_svc.settings import TABLE, Settings, read

OK, FAILED, USAGE = 0, 1, 2

HELP = """\
hms-svc: the HMS sidecar. It keeps one service's conf.yml equal to the base plus the
patches that are approved and in force now, reloads the service, and confirms the effect.

usage:
  hms-svc run            work until SIGTERM: listen, apply, confirm, report
  hms-svc run --once     load the snapshot, apply it, confirm, report, and leave
  hms-svc check          look at each thing the agent needs; one line each, with a hint
  hms-svc run --help     all settings (environment variables, or flags of the same name)

a first run, beside an nginx whose limits stand in /etc/service/conf.yml:
  export TENANT=IACB HMS_SERVICE=ARTIST_REGISTRY_API HMS_VERSION=2.1.0
  export HMS_TRUST=/etc/hms/trust.json HMS_REDIS_URL=redis://127.0.0.1:6379/0
  export HMS_RENDER=/etc/hms/nginx.conf.tmpl:/etc/nginx/nginx.conf
  export HMS_CHECK='nginx -t -q -c {rendered}' HMS_PIDFILE=/run/nginx.pid HMS_PROCESS=nginx
  export HMS_PROBE_URL=http://127.0.0.1:8080/ HMS_PROBE_HEADER='X-RPS-Limit: {{rate_limit_rps}}'
  hms-svc check && hms-svc run

exit codes:
  0  told to stop (run); applied and confirmed (run --once); everything in place (check)
  1  not applied, not confirmed or not reported (run --once); something is missing (check)
  2  a setting is missing or wrong; the line on stderr names it

Logs are one JSON object a line on stderr, and only when something happens.
"""

STEP = """\
usage: hms-svc {command} [--flag value ...]

A flag wins over its variable. Required:
{required}

Optional:
{optional}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the result is the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return OK if words else USAGE
    command, *rest = words
    if command not in ("run", "check"):
        return _usage(f"{command}: there is no such command; `hms-svc --help` shows them")
    if "-h" in rest or "--help" in rest:
        sys.stdout.write(_settings_help(command))
        return OK
    once = command == "run" and "--once" in rest
    flags = [word for word in rest if word != "--once"] if once else rest
    try:
        settings = read(os.environ, flags)
        return _check(settings) if command == "check" else _run(settings, once=once)
    except SettingsError as error:
        return _usage(str(error))


def _usage(words: str) -> int:
    sys.stderr.write(f"hms-svc: {words}\n")
    return USAGE


def _settings_help(command: str) -> str:
    lines: dict[bool, list[str]] = {True: [], False: []}
    for row in TABLE:
        shown = f" [{row.default}]" if row.default and not row.default.startswith("@") else ""
        lines[row.default is None].append(f"  {row.env:<20} {row.flag:<18} {row.words}{shown}")
    more = "\n  --once               load the snapshot, apply, confirm, report, leave" if command == "run" else ""
    return STEP.format(command=command, required="\n".join(lines[True]), optional="\n".join(lines[False]) + more)


def _check(settings: Settings) -> int:
    from hms_svc.doctor import examine  # noqa: PLC0415 - the running agent needs none of it

    findings = examine(settings)
    for finding in findings:
        sys.stdout.write(finding.line())
    return OK if all(finding.fine for finding in findings) else FAILED


def _run(settings: Settings, *, once: bool) -> int:
    from hms_svc.agent import Agent  # noqa: PLC0415 - `--help` needs none of it
    from hms_svc.ground import prepare  # noqa: PLC0415 - as above

    ground = prepare(settings)
    try:
        agent = Agent(settings, ground.trust)
    except OSError as error:
        raise SettingsError(f"HMS_STATE={settings.state}: the journal cannot be read: {error.strerror}") from None
    if once:
        return OK if agent.run_once() else FAILED
    agent.run()
    return OK


if __name__ == "__main__":
    sys.exit(main())
