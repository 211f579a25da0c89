"""The constants a mapping adds are sealed: a licence or a password may be one of them."""

from alembic import op

revision = "0009"
down_revision = "0008"

# What is there already is sealed on the next start (database.resealing): that needs the key.
TABLES = """
ALTER TABLE destination_versions ADD COLUMN added_sealed bytea;
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
