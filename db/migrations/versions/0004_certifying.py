"""Frozen batches with their audit samples and later spot checks; a card knows what it showed"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _enum(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)


APPEND_ONLY = ("batch", "batch_pair", "spot_check")


def upgrade() -> None:
    op.create_table(
        "batch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("judge_id", sa.Integer(), nullable=False),
        sa.Column("calibrator_id", sa.Integer(), nullable=False),
        sa.Column("epsilon", sa.Double(), nullable=False),
        sa.Column("delta", sa.Double(), nullable=False),
        sa.Column("n_pairs", sa.Integer(), nullable=False),
        sa.Column("n_audits", sa.Integer(), nullable=False),
        sa.Column("plan", JSON, nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["judge_id"], ["judge.id"], name=op.f("fk_batch_judge_id_judge")),
        sa.ForeignKeyConstraint(["calibrator_id"], ["calibrator.id"], name=op.f("fk_batch_calibrator_id_calibrator")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_batch_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
        sa.UniqueConstraint("hash", name=op.f("uq_batch_hash")),
    )
    op.create_table(
        "batch_pair",
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("suggestion_id", sa.Integer(), nullable=False),
        sa.Column("relevant_class", sa.Boolean(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("audit_position", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_batch_pair_batch_id_batch")),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_batch_pair_pair_id_pair")),
        sa.ForeignKeyConstraint(
            ["suggestion_id"], ["suggestion.id"], name=op.f("fk_batch_pair_suggestion_id_suggestion")
        ),
        sa.PrimaryKeyConstraint("batch_id", "pair_id", name=op.f("pk_batch_pair")),
    )
    op.create_index(op.f("ix_batch_pair_pair_id"), "batch_pair", ["pair_id"])
    op.create_index(op.f("ix_batch_pair_batch_id_audit_position"), "batch_pair", ["batch_id", "audit_position"])
    op.execute(
        "ALTER TABLE certificate ADD COLUMN batch_id INTEGER CONSTRAINT fk_certificate_batch_id_batch "
        "REFERENCES batch (id)"
    )
    # A lease lives for minutes: the cards that are open during an upgrade are served anew.
    op.drop_table("lease")
    op.create_table(
        "lease",
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("card", sa.String(length=64), nullable=False),
        sa.Column("visibility", _enum("visibility", "blind", "shown"), nullable=False),
        sa.Column("suggestion_id", sa.Integer(), nullable=True),
        sa.Column("batch_id", sa.Integer(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_lease_pair_id_pair")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_lease_person_id_person")),
        sa.ForeignKeyConstraint(["suggestion_id"], ["suggestion.id"], name=op.f("fk_lease_suggestion_id_suggestion")),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_lease_batch_id_batch")),
        sa.PrimaryKeyConstraint("pair_id", "criterion", name=op.f("pk_lease")),
        sa.UniqueConstraint("card", name=op.f("uq_lease_card")),
    )
    op.create_index(op.f("ix_lease_person_id"), "lease", ["person_id"])
    op.create_table(
        "spot_check",
        sa.Column("certificate_id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["certificate.id"], name=op.f("fk_spot_check_certificate_id_certificate")
        ),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_spot_check_pair_id_pair")),
        sa.PrimaryKeyConstraint("certificate_id", "pair_id", name=op.f("pk_spot_check")),
    )
    op.create_index(op.f("ix_spot_check_pair_id"), "spot_check", ["pair_id"])
    for table in APPEND_ONLY:
        _freeze(table)


def _freeze(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    else:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION relabel_refuse('{table} is append-only')"
        )
