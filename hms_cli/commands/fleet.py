"""Instances."""

from hms_cli.outcome import Code
from hms_cli.shell import WHAT_RUNS, Filter, Session, command, noun
from hms_cli.views import fleet as show

cli = noun()


@command(cli, panel=WHAT_RUNS)
def fleet(session: Session, *, tenant: Filter = None, service: Filter = None) -> Code:
    """Show which instances run, what they run, and when they were last heard of.

    Example: **hms fleet --service ARTIST_REGISTRY_API**
    """
    session.write(show.fleet(session.client.pages("/api/instance", {"tenant": tenant, "service": service})))
    return Code.OK
