"""What schemathesis loads beside its settings: who asks. Each made-up request comes from one of the callers named.

It is the request itself that picks the caller, so that one that fails fails again.
"""

import os
import zlib
from typing import Any, TypeAlias

import schemathesis

from tests.mgt.rules import OPEN, RULES

AnyCase: TypeAlias = schemathesis.Case[schemathesis.APIOperation[Any, Any, Any, Any]]
CALLERS = os.environ.get("HMS_FUZZ_CALLERS", "").split()


@schemathesis.auth(refresh_interval=None)
class Callers:
    """Bears a caller's token; `none` bears nothing."""

    def get(self, case: AnyCase, _: schemathesis.AuthContext) -> str | None:
        number = zlib.crc32(
            repr((case.operation.label, case.path_parameters, case.query, case.body)).encode(errors="replace")
        )
        allowed = [one for one in CALLERS if one.partition("@")[0] in RULES.get(case.operation.label, OPEN).roles]
        # Mostly those who may: what the others are answered is soon known.
        among = CALLERS if number % 8 == 0 or not allowed else allowed
        caller = among[number // 8 % len(among)]
        return None if caller == "none" else caller

    def set(self, case: AnyCase, data: str, _: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: AnyCase, __: dict[str, Any]) -> None:
    """Have no caller revoke the token of one who is still to ask."""
    if case.path_parameters.get("name") in CALLERS:
        case.path_parameters["name"] = "spare@IACB"
