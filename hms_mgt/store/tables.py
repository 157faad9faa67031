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
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

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
)


def _when(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


tenant = Table("tenant", metadata, Column("id", Text, primary_key=True), _when("created_at"))

quota = Table(
    "quota",
    metadata,
    Column("tenant", Text, ForeignKey("tenant.id"), primary_key=True),
    Column("replicas", Integer),
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
    UniqueConstraint("author", "idempotency_key"),
    CheckConstraint("window_end IS NULL OR window_end > window_start", name="window"),
    Index(
        "ix_patch_open",
        "status",
        "next_attempt_at",
        postgresql_where=text("status NOT IN ('REJECTED', 'EXPIRED', 'ROLLED_BACK', 'CANCELLED')"),
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
    Index("ix_patch_event_patch_id", "patch_id", "id"),
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
    Column("detail", JSONB, nullable=False),
    Column("request_id", Text),
    Index("ix_audit_tenant_id", "tenant", "id"),
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
