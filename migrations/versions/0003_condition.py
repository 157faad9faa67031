"""What an instance says of its own condition: where its files are, what is in the way, what people edited by hand.

The columns have defaults, so code of the schema before goes on writing instances without them.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instance", sa.Column("phase", sa.Text(), nullable=False, server_default=""))
    op.add_column("instance", sa.Column("trouble", sa.Text(), nullable=False, server_default=""))
    op.add_column("instance", sa.Column("drift", postgresql.ARRAY(sa.Text()), nullable=False, server_default="{}"))


def downgrade() -> None:
    for name in ("drift", "trouble", "phase"):
        op.drop_column("instance", name)
