"""Alembic migrations of the HMS-MGT schema."""
