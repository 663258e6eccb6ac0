"""The encoder that a run trained first, where the model it was after is an adapter on top of it"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Plain SQL: SQLite adds a column with its constraint, but no constraint to a table that stands.
    op.execute(
        "ALTER TABLE training_run ADD COLUMN trained_encoder_id INTEGER "
        "CONSTRAINT fk_training_run_trained_encoder_id_model_version REFERENCES model_version (id)"
    )
