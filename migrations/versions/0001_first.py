"""The first schema: patches and their trail, streams and their outbox, instances, tokens, the catalogue.

Row-level security is forced on every tenant table: rows show and pass only where they belong to the tenant
named by the transaction's `hms.tenant` (`*` is the platform's own workers). The application runs as
`hms_app`, which owns nothing, cannot delete anything, and can only append to the events, the audit and the receipts.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


_TENANT_TABLES = (
    "quota",
    "deployment",
    "token",
    "patch",
    "patch_event",
    "audit",
    "stream",
    "stream_revision",
    "outbox",
    "instance",
    "receipt",
    "ack_cursor",
)
_APPEND_ONLY = ("patch_event", "audit", "receipt", "stream_revision", "tenant")
_CHANGING = ("quota", "deployment", "token", "patch", "stream", "outbox", "instance", "ack_cursor", "duty")
_SCOPE = "current_setting('hms.tenant', true)"


def _create_app_role() -> None:
    # Roles belong to the whole cluster, so another database of it may have made this one already.
    op.execute(
        "DO $$ BEGIN CREATE ROLE hms_app NOLOGIN NOSUPERUSER NOBYPASSRLS;"
        " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    )
    op.execute("DO $$ BEGIN EXECUTE format('GRANT hms_app TO %I', current_user); END $$")
    op.execute("GRANT USAGE ON SCHEMA public TO hms_app")


def _force_tenant_scope(table: str) -> None:
    rule = f"{_SCOPE} = '*' OR tenant = {_SCOPE}"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant_scope ON {table} USING ({rule}) WITH CHECK ({rule})")


def _grant() -> None:
    op.execute(f"GRANT SELECT, INSERT ON {', '.join(_APPEND_ONLY)} TO hms_app")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {', '.join(_CHANGING)} TO hms_app")
    op.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO hms_app")


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("approval_order")))
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_tenant_id", "audit", ["tenant", "id"], unique=False)
    op.create_table(
        "duty",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_duty")),
    )
    op.create_table(
        "outbox",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("delta", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "service", "revision", name=op.f("pk_outbox")),
    )
    op.create_index(
        "ix_outbox_pending",
        "outbox",
        ["tenant", "service", "revision"],
        unique=False,
        postgresql_where=sa.text("published_at IS NULL"),
    )
    op.create_table(
        "receipt",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("patch_id", sa.BigInteger(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipt")),
        sa.UniqueConstraint(
            "tenant",
            "patch_id",
            "instance",
            "stage",
            "at",
            name=op.f("uq_receipt_tenant_patch_id_instance_stage_at"),
        ),
    )
    op.create_table(
        "tenant",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant")),
    )
    op.create_table(
        "deployment",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("conf", sa.Text(), nullable=False),
        sa.Column("base", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("orchestrator", sa.Text(), nullable=True),
        sa.Column("wanted", sa.Integer(), nullable=True),
        sa.Column("running", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_deployment_tenant")),
        sa.PrimaryKeyConstraint("tenant", "service", "version", name=op.f("pk_deployment")),
    )
    op.create_table(
        "instance",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("active", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("digest_ok", sa.Boolean(), nullable=False),
        sa.Column("failed", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("refused", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("stale", sa.Boolean(), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_instance_tenant")),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_instance")),
    )
    op.create_index("ix_instance_tenant_service", "instance", ["tenant", "service"], unique=False)
    op.create_table(
        "patch",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("version_selector", sa.Text(), nullable=False),
        sa.Column("changes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("author_role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("body_digest", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approval_order", sa.BigInteger(), nullable=True),
        sa.Column("decision", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("decision_summary", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("rollout_started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ending", sa.Text(), nullable=True),
        sa.CheckConstraint("window_end IS NULL OR window_end > window_start", name=op.f("ck_patch_window")),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_patch_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patch")),
        sa.UniqueConstraint("author", "idempotency_key", name=op.f("uq_patch_author_idempotency_key")),
    )
    op.create_index(
        "ix_patch_open",
        "patch",
        ["status", "next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("status NOT IN ('REJECTED', 'EXPIRED', 'ROLLED_BACK', 'CANCELLED')"),
    )
    op.create_index("ix_patch_tenant_service", "patch", ["tenant", "service", "id"], unique=False)
    op.create_table(
        "ack_cursor",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_ack_cursor_tenant")),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_ack_cursor")),
    )
    op.create_table(
        "quota",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("replicas", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_quota_tenant")),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_quota")),
    )
    op.create_table(
        "stream",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_stream_tenant")),
        sa.PrimaryKeyConstraint("tenant", "service", name=op.f("pk_stream")),
    )
    op.create_table(
        "token",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenant.id"], name=op.f("fk_token_tenant")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_token")),
        sa.UniqueConstraint("name", name=op.f("uq_token_name")),
    )
    op.create_table(
        "patch_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("patch_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("from_status", sa.Text(), nullable=True),
        sa.Column("to_status", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["patch_id"], ["patch.id"], name=op.f("fk_patch_event_patch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patch_event")),
    )
    op.create_index("ix_patch_event_patch_id", "patch_event", ["patch_id", "id"], unique=False)
    op.create_table(
        "stream_revision",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entries", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "service"],
            ["stream.tenant", "stream.service"],
            name=op.f("fk_stream_revision_tenant_service"),
        ),
        sa.PrimaryKeyConstraint("tenant", "service", "revision", name=op.f("pk_stream_revision")),
    )
    _create_app_role()
    for table in _TENANT_TABLES:
        _force_tenant_scope(table)
    _grant()


def downgrade() -> None:
    op.drop_table("stream_revision")
    op.drop_index("ix_patch_event_patch_id", table_name="patch_event")
    op.drop_table("patch_event")
    op.drop_table("token")
    op.drop_table("stream")
    op.drop_table("quota")
    op.drop_index("ix_patch_tenant_service", table_name="patch")
    op.drop_index(
        "ix_patch_open",
        table_name="patch",
        postgresql_where=sa.text("status NOT IN ('REJECTED', 'EXPIRED', 'ROLLED_BACK', 'CANCELLED')"),
    )
    op.drop_table("patch")
    op.drop_index("ix_instance_tenant_service", table_name="instance")
    op.drop_table("instance")
    op.drop_table("deployment")
    op.drop_table("ack_cursor")
    op.drop_table("tenant")
    op.drop_table("receipt")
    op.drop_index("ix_outbox_pending", table_name="outbox", postgresql_where=sa.text("published_at IS NULL"))
    op.drop_table("outbox")
    op.drop_table("duty")
    op.drop_index("ix_audit_tenant_id", table_name="audit")
    op.drop_table("audit")
    op.execute(sa.schema.DropSequence(sa.Sequence("approval_order")))
