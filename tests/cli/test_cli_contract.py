"""The documents that these tests make up have the shape of those the API answers with: no more members, no fewer."""

from typing import Any

import pytest
from pydantic import BaseModel

from hms_mgt.api import audit, effective_views, freezes, rehearsal, streams, tenants, views

from . import documents
from .fake_mgt import instance, patch


@pytest.mark.parametrize(
    ("document", "view"),
    [
        (patch("APPLIED"), views.PatchDetail),
        (instance("pod-1"), views.InstanceView),
        (documents.rehearsal(refusals=[documents.refusal("frozen", "no", ("/window", "no"))]), rehearsal.DryRunView),
        (documents.effective(), effective_views.EffectiveView),
        (documents.freeze(), freezes.FreezeView),
        (documents.quota(), tenants.QuotaView),
        (documents.entry(), audit.EntryView),
        (documents.revision(12, 784), streams.RevisionView),
        (documents.returned(lost=[{"patch_id": 1, "reason": "over"}]), streams.ReturnedView),
    ],
)
def test_a_made_up_document_could_be_the_apis(document: dict[str, Any], view: type[BaseModel]) -> None:
    seen = view.model_validate(document, extra="forbid")
    assert seen.model_dump(mode="json", by_alias=True, exclude_unset=True) == document
