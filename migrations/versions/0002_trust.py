"""Approvals, freezes, wider quotas, superseding, the history of bases, and an audit that is one chain a tenant.

Everything is added: code of the schema before goes on reading and writing beside this one, until a patch is in a
state that it does not know. It knows no freezes, approvals and ends of tokens either, so replace it before they are
put to use. What it appends to the audit has no place in a chain, and the verifier says so.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SCOPE = "current_setting('hms.tenant', true)"
_OWN = f"{_SCOPE} = '*' OR tenant = {_SCOPE}"
_APPEND_ONLY = ("deployment_base", "approval")
# All that is ever changed of a row; without it a tenant's scope could take over a freeze that it only sees.
_CHANGES = {
    "freeze_window": "lifted_at, lifted_by",
    "audit_head": "seq, hash, at, envelope",
    "platform_cap": "replicas, cpu, memory, knobs",
    "token": "revoked_at, last_used_at",
}
_OPEN = "status NOT IN ('REJECTED', 'EXPIRED', 'ROLLED_BACK', 'CANCELLED')"
_OPEN_NOW = "status NOT IN ('REJECTED', 'EXPIRED', 'ROLLED_BACK', 'SUPERSEDED', 'CANCELLED')"


def _when(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _force_tenant_scope(table: str, seen: str = _OWN) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant_scope ON {table} USING ({seen}) WITH CHECK ({_OWN})")


def _bounds() -> tuple[sa.Column[Any], ...]:
    knobs: sa.Column[Any] = sa.Column("knobs", postgresql.JSONB(), server_default="{}", nullable=False)
    return sa.Column("cpu", sa.Text()), sa.Column("memory", sa.Text()), knobs


def upgrade() -> None:
    for column in _bounds():
        op.add_column("quota", column)
    op.create_table(
        "platform_cap",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("replicas", sa.Integer()),
        *_bounds(),
        sa.CheckConstraint("id = 1", name=op.f("ck_platform_cap_only")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_platform_cap")),
    )
    op.execute("ALTER TABLE platform_cap ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE platform_cap FORCE ROW LEVEL SECURITY")
    # It binds every tenant, so each sees it; none but the platform sets it.
    op.execute("CREATE POLICY seen_by_all ON platform_cap FOR SELECT USING (true)")
    op.execute(f"CREATE POLICY set_by_platform ON platform_cap USING ({_SCOPE} = '*')")
    _history_of_bases()
    op.add_column("token", _when("expires_at", nullable=True))
    op.add_column("token", _when("last_used_at", nullable=True))
    _patches()
    _approvals()
    _freezes()
    _audit_chain()
    op.execute(f"GRANT SELECT, INSERT ON {', '.join(_APPEND_ONLY)} TO hms_app")
    op.execute("REVOKE UPDATE ON token FROM hms_app")
    for table, columns in _CHANGES.items():
        op.execute(f"GRANT SELECT, INSERT, UPDATE ({columns}) ON {table} TO hms_app")
    op.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO hms_app")


def _history_of_bases() -> None:
    op.create_table(
        "deployment_base",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        _when("at"),
        sa.Column("conf", sa.Text(), nullable=False),
        sa.Column("base", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployment_base")),
    )
    op.create_index("ix_deployment_base_tenant", "deployment_base", ["tenant", "service", "version", "id"])
    # The rows are the owner's to copy: row-level security is forced on the owner as well.
    op.execute("ALTER TABLE deployment NO FORCE ROW LEVEL SECURITY")
    op.execute(
        "INSERT INTO deployment_base (tenant, service, version, at, conf, base)"
        " SELECT tenant, service, version, created_at, conf, base FROM deployment ORDER BY created_at"
    )
    op.execute("ALTER TABLE deployment FORCE ROW LEVEL SECURITY")
    _force_tenant_scope("deployment_base")


def _patches() -> None:
    op.add_column(
        "patch", sa.Column("supersedes", postgresql.ARRAY(sa.BigInteger()), server_default="{}", nullable=False)
    )
    op.add_column("patch", sa.Column("superseded_by", sa.BigInteger()))
    op.add_column("patch", sa.Column("break_glass", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("patch", sa.Column("obligations", postgresql.JSONB(), server_default="[]", nullable=False))
    op.add_column("patch", sa.Column("freeze_exemption", sa.Text()))
    op.add_column("patch", _when("held_until", nullable=True))
    op.drop_constraint("uq_patch_author_idempotency_key", "patch")
    op.create_unique_constraint(
        "uq_patch_author_idempotency_key_tenant", "patch", ["author", "idempotency_key", "tenant"]
    )
    op.drop_index("ix_patch_open", table_name="patch")
    op.create_index("ix_patch_open", "patch", ["status", "next_attempt_at"], postgresql_where=sa.text(_OPEN_NOW))
    default = sa.text("(pg_current_xact_id()::text)::bigint")
    op.add_column("patch_event", sa.Column("tx", sa.BigInteger(), server_default=default, nullable=False))
    op.create_index("ix_patch_event_tx", "patch_event", ["tx", "id"])


def _approvals() -> None:
    op.create_table(
        "approval",
        sa.Column("patch_id", sa.BigInteger(), nullable=False),
        sa.Column("approver", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        _when("at"),
        sa.ForeignKeyConstraint(["patch_id"], ["patch.id"], name=op.f("fk_approval_patch_id")),
        sa.PrimaryKeyConstraint("patch_id", "approver", name=op.f("pk_approval")),
    )
    _force_tenant_scope("approval")


def _freezes() -> None:
    op.create_table(
        "freeze_window",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        _when("starts_at"),
        _when("ends_at"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("except_roles", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        _when("created_at"),
        _when("lifted_at", nullable=True),
        sa.Column("lifted_by", sa.Text()),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_freeze_window_window")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_freeze_window")),
    )
    op.create_index("ix_freeze_window_tenant_ends_at", "freeze_window", ["tenant", "ends_at"])
    # A freeze of the whole platform concerns every tenant, so each sees it; none but the platform makes one.
    _force_tenant_scope("freeze_window", f"{_OWN} OR tenant = '*'")


def _audit_chain() -> None:
    op.execute("ALTER TABLE audit ALTER COLUMN detail TYPE json USING detail::json")
    for name, kind in (
        ("role", sa.Text()),
        ("source", sa.Text()),
        ("before", postgresql.JSON()),
        ("after", postgresql.JSON()),
        ("decision_id", sa.Text()),
        ("chain", sa.Text()),
        ("seq", sa.BigInteger()),
        ("hash", sa.Text()),
        ("checksums", sa.Text()),
    ):
        op.add_column("audit", sa.Column(name, kind))
    op.create_index("ix_audit_chain", "audit", ["chain", "seq"], unique=True)
    op.create_table(
        "audit_head",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        _when("at"),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_audit_head")),
    )
    _force_tenant_scope("audit_head")


def downgrade() -> None:
    op.drop_table("audit_head")
    op.drop_index("ix_audit_chain", table_name="audit")
    for name in ("checksums", "hash", "seq", "chain", "decision_id", "after", "before", "source", "role"):
        op.drop_column("audit", name)
    op.execute("ALTER TABLE audit ALTER COLUMN detail TYPE jsonb USING detail::jsonb")
    op.drop_table("freeze_window")
    op.drop_table("approval")
    op.drop_index("ix_patch_event_tx", table_name="patch_event")
    op.drop_column("patch_event", "tx")
    op.drop_constraint("uq_patch_author_idempotency_key_tenant", "patch")
    op.create_unique_constraint("uq_patch_author_idempotency_key", "patch", ["author", "idempotency_key"])
    op.drop_index("ix_patch_open", table_name="patch")
    op.create_index("ix_patch_open", "patch", ["status", "next_attempt_at"], postgresql_where=sa.text(_OPEN))
    for name in ("held_until", "freeze_exemption", "obligations", "break_glass", "superseded_by", "supersedes"):
        op.drop_column("patch", name)
    op.drop_column("token", "last_used_at")
    op.drop_column("token", "expires_at")
    op.execute("GRANT UPDATE ON token TO hms_app")
    op.drop_table("deployment_base")
    op.drop_table("platform_cap")
    for name in ("knobs", "memory", "cpu"):
        op.drop_column("quota", name)
