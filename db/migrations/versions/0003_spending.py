"""What a call may cost is reserved before it is made; label jobs say where they are; a suggestion knows its call"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = "JSONB" if op.get_bind().dialect.name == "postgresql" else "JSON"
    moment = "TIMESTAMP WITH TIME ZONE" if op.get_bind().dialect.name == "postgresql" else "DATETIME"
    double = "DOUBLE PRECISION" if op.get_bind().dialect.name == "postgresql" else "DOUBLE"
    # Written out: SQLite adds a column with its constraint in place, where Alembic would rebuild the table and lose its
    # triggers.
    states = "'queued', 'running', 'done', 'failed', 'cancelled'"
    for column in (
        f"status VARCHAR(32) DEFAULT 'done' NOT NULL CONSTRAINT ck_label_job_run_status CHECK (status IN ({states}))",
        "workflow_id VARCHAR(80)",
        "person_id INTEGER CONSTRAINT fk_label_job_person_id_person REFERENCES person (id)",
        "message TEXT DEFAULT '' NOT NULL",
        "done INTEGER DEFAULT 0 NOT NULL",
        "failed INTEGER DEFAULT 0 NOT NULL",
        "cancel_requested BOOLEAN DEFAULT false NOT NULL",
        f"heartbeat_at {moment}",
        f"spec {json} DEFAULT '{{}}' NOT NULL",
        "spent_tokens BIGINT DEFAULT 0 NOT NULL",
        f"spent_usd {double} DEFAULT 0 NOT NULL",
    ):
        op.execute(f"ALTER TABLE label_job ADD COLUMN {column}")
    op.execute("ALTER TABLE suggestion ADD COLUMN reply_key VARCHAR(64)")
    op.execute(f"ALTER TABLE suggestion ADD COLUMN context {json}")
    # One valid suggestion of a judge for a pair, and for each definition it was shown; older ones know no reply_key.
    bought = "WHERE status = 'ok' AND reply_key IS NOT NULL AND definition_id IS"
    op.execute(f"CREATE UNIQUE INDEX uq_suggestion_one_valid ON suggestion (judge_id, pair_id) {bought} NULL")
    op.execute(
        "CREATE UNIQUE INDEX uq_suggestion_one_valid_a_definition ON suggestion (judge_id, pair_id, definition_id) "
        f"{bought} NOT NULL"
    )
    op.drop_table("spend_entry")  # nothing has ever written it
    op.create_table(
        "spend_entry",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("endpoint", sa.String(length=300), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "reserved",
                "settled",
                "released",
                name="spend_state",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["label_job.id"], name=op.f("fk_spend_entry_job_id_label_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spend_entry")),
    )
    op.create_index(op.f("ix_spend_entry_job_id"), "spend_entry", ["job_id"])
    op.create_index(
        op.f("ix_spend_entry_endpoint_state_expires_at"), "spend_entry", ["endpoint", "state", "expires_at"]
    )
    op.create_table(
        "rate_window",
        sa.Column("endpoint", sa.String(length=300), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("endpoint", name=op.f("pk_rate_window")),
    )
    op.create_table(
        "call_places",
        sa.Column("endpoint", sa.String(length=300), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("places", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("endpoint", "owner", name=op.f("pk_call_places")),
    )
    op.create_table(
        "prompt",
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column(
            "criterion",
            sa.Enum("relevance", "utility", name="criterion", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_prompt")),
    )
