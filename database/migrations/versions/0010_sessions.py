"""A session knows the token of the settings it was begun with: it ends when that one is changed."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute("ALTER TABLE sessions ADD COLUMN token_hash bytea")
