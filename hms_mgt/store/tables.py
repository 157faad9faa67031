"""The schema, as SQLAlchemy Core tables. Alembic compares itself with it; queries live beside it by noun."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Tables whose rows belong to a tenant: row-level security is forced on each of them.
TENANT_TABLES = (
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
    "deployment_base",
    "approval",
    "freeze_window",
    "audit_head",
)


def _when(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


tenant = Table("tenant", metadata, Column("id", Text, primary_key=True), _when("created_at"))


def _bounds() -> tuple[Column[object], ...]:
    """Upper bounds: how much in all, and how much one knob may be set to. NULL is no bound."""
    return (
        Column("replicas", Integer),
        # Quantities as they were given: 16, 500m, 64Gi.
        Column("cpu", Text),
        Column("memory", Text),
        Column("knobs", JSONB, nullable=False, server_default="{}"),
    )


quota = Table("quota", metadata, Column("tenant", Text, ForeignKey("tenant.id"), primary_key=True), *_bounds())

# One row: no tenant's quota goes beyond it.
platform_cap = Table(
    "platform_cap",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="only"), primary_key=True, autoincrement=False),
    *_bounds(),
)

deployment = Table(
    "deployment",
    metadata,
    Column("tenant", Text, ForeignKey("tenant.id"), primary_key=True),
    Column("service", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("conf", Text, nullable=False),
    Column("base", JSONB, nullable=False),
    Column("orchestrator", Text),
    Column("wanted", Integer),
    Column("running", Integer),
    _when("created_at"),
)

# Every base that a deployment ever had, kept so that the past can be explained.
deployment_base = Table(
    "deployment_base",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("version", Text, nullable=False),
    _when("at"),
    Column("conf", Text, nullable=False),
    Column("base", JSONB, nullable=False),
    Index("ix_deployment_base_tenant", "tenant", "service", "version", "id"),
)

token = Table(
    "token",
    metadata,
    Column("hash", Text, primary_key=True),
    # Names the actor in every event and audit row, so no two tokens share one.
    Column("name", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    # NULL is a token for every tenant.
    Column("tenant", Text, ForeignKey("tenant.id")),
    _when("created_at"),
    _when("revoked_at", nullable=True),
    _when("expires_at", nullable=True),
    # To the minute: a write for each request would cost more than it tells.
    _when("last_used_at", nullable=True),
)

approval_order = Sequence("approval_order", metadata=metadata)

patch = Table(
    "patch",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("tenant", Text, ForeignKey("tenant.id"), nullable=False),
    Column("service", Text, nullable=False),
    Column("version_selector", Text, nullable=False),
    Column("changes", JSONB, nullable=False),
    _when("window_start"),
    _when("window_end", nullable=True),
    Column("priority", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_reason", Text, nullable=False, server_default=""),
    Column("author", Text, nullable=False),
    Column("author_role", Text, nullable=False),
    _when("created_at"),
    _when("updated_at"),
    Column("idempotency_key", Text),
    Column("body_digest", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # A QUEUED patch is looked at again from this instant on; claiming one moves it, so it is also the lease.
    _when("next_attempt_at"),
    Column("approval_order", BigInteger),
    Column("decision", JSONB),
    Column("decision_summary", JSONB),
    _when("rollout_started_at", nullable=True),
    Column("ending", Text),
    # The patches that end once this one is in effect.
    Column("supersedes", ARRAY(BigInteger), nullable=False, server_default="{}"),
    Column("superseded_by", BigInteger),
    Column("break_glass", Boolean, nullable=False, server_default="false"),
    # What GOV asks for besides, as it said it.
    Column("obligations", JSONB, nullable=False, server_default="[]"),
    # Why a freeze does not hold this patch; NULL where one does.
    Column("freeze_exemption", Text),
    # While a freeze holds it: when that ends.
    _when("held_until", nullable=True),
    # One name may be known in several tenants, and none of them may feel what the others' keys are.
    UniqueConstraint("author", "idempotency_key", "tenant"),
    CheckConstraint("window_end IS NULL OR window_end > window_start", name="window"),
    Index(
        "ix_patch_open",
        "status",
        "next_attempt_at",
        postgresql_where=text("status NOT IN ('REJECTED', 'EXPIRED', 'ROLLED_BACK', 'SUPERSEDED', 'CANCELLED')"),
    ),
    Index("ix_patch_tenant_service", "tenant", "service", "id"),
)

patch_event = Table(
    "patch_event",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("patch_id", BigInteger, ForeignKey("patch.id"), nullable=False),
    _when("at"),
    Column("from_status", Text),
    Column("to_status", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("detail", Text, nullable=False),
    # The transaction that wrote it: who follows events reads only those behind which none can still appear.
    Column("tx", BigInteger, nullable=False, server_default=text("(pg_current_xact_id()::text)::bigint")),
    Index("ix_patch_event_patch_id", "patch_id", "id"),
    Index("ix_patch_event_tx", "tx", "id"),
)

# One person's word on one patch that GOV wants more people's words on.
approval = Table(
    "approval",
    metadata,
    Column("patch_id", BigInteger, ForeignKey("patch.id"), primary_key=True),
    Column("approver", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("comment", Text, nullable=False),
    _when("at"),
)

# A time in which no rollout begins. The tenant `*` is every tenant's.
freeze = Table(
    "freeze_window",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("tenant", Text, nullable=False),
    _when("starts_at"),
    _when("ends_at"),
    Column("reason", Text, nullable=False),
    # Roles that it does not hold.
    Column("except_roles", ARRAY(Text), nullable=False),
    Column("created_by", Text, nullable=False),
    _when("created_at"),
    _when("lifted_at", nullable=True),
    Column("lifted_by", Text),
    CheckConstraint("ends_at > starts_at", name="window"),
    Index("ix_freeze_window_tenant_ends_at", "tenant", "ends_at"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    # NULL where the act concerns no single tenant.
    Column("tenant", Text),
    _when("at"),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    # JSON, not JSONB: what was hashed must come back letter by letter.
    Column("detail", JSON, nullable=False),
    Column("request_id", Text),
    Column("role", Text),
    # Where the request came from: an address, or the machine itself.
    Column("source", Text),
    Column("before", JSON),
    Column("after", JSON),
    Column("decision_id", Text),
    # A tenant's rows are one chain, the platform's own (`*`) another. Rows from before there were chains have none.
    Column("chain", Text),
    Column("seq", BigInteger),
    Column("hash", Text),
    # A few digits for each column: which one somebody changed.
    Column("checksums", Text),
    Index("ix_audit_tenant_id", "tenant", "id"),
    Index("ix_audit_chain", "chain", "seq", unique=True),
)

# Where each chain ends: signed, and overwritten by the next append, so that no older end lies about to be put back.
audit_head = Table(
    "audit_head",
    metadata,
    # The tenant, or `*` for the platform's own chain.
    Column("tenant", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    _when("at"),
    Column("envelope", Text, nullable=False),
)

stream = Table(
    "stream",
    metadata,
    Column("tenant", Text, ForeignKey("tenant.id"), primary_key=True),
    Column("service", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("snapshot", Text, nullable=False),
)

# What each revision held, kept so that a report about it can be checked later.
stream_revision = Table(
    "stream_revision",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("revision", BigInteger, primary_key=True),
    _when("at"),
    Column("entries", JSONB, nullable=False),
    ForeignKeyConstraint(["tenant", "service"], ["stream.tenant", "stream.service"]),
)

outbox = Table(
    "outbox",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("revision", BigInteger, primary_key=True),
    Column("delta", Text, nullable=False),
    _when("created_at"),
    _when("published_at", nullable=True),
    Index("ix_outbox_pending", "tenant", "service", "revision", postgresql_where=text("published_at IS NULL")),
)

instance = Table(
    "instance",
    metadata,
    Column("tenant", Text, ForeignKey("tenant.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("url", Text),
    Column("revision", BigInteger, nullable=False),
    Column("active", ARRAY(BigInteger), nullable=False),
    Column("digest_ok", Boolean, nullable=False),
    Column("failed", JSONB, nullable=False),
    Column("refused", JSONB, nullable=False),
    Column("phase", Text, nullable=False, server_default=""),
    Column("trouble", Text, nullable=False, server_default=""),
    Column("drift", ARRAY(Text), nullable=False, server_default="{}"),
    Column("stale", Boolean, nullable=False),
    _when("first_seen"),
    _when("last_seen"),
    _when("gone_at", nullable=True),
    Index("ix_instance_tenant_service", "tenant", "service"),
)

receipt = Table(
    "receipt",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("patch_id", BigInteger, nullable=False),
    Column("instance", Text, nullable=False),
    Column("stage", Text, nullable=False),
    _when("at"),
    Column("detail", Text, nullable=False),
    UniqueConstraint("tenant", "patch_id", "instance", "stage", "at"),
)

# The last report taken in from each tenant's stream, moved in the same transaction as what the report says.
ack_cursor = Table(
    "ack_cursor",
    metadata,
    Column("tenant", Text, ForeignKey("tenant.id"), primary_key=True),
    Column("entry_id", Text, nullable=False),
)

# A periodic duty of the whole control plane; whoever moves `due_at` carries it out this time.
duty = Table("duty", metadata, Column("name", Text, primary_key=True), _when("due_at"))
