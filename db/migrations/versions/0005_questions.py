"""Questions that an LLM wrote from a passage, with the evidence for them, and which passages it was asked about"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "generated_question",
        sa.Column("query_id", sa.Integer(), nullable=False),
        sa.Column("passage_id", sa.Integer(), nullable=False),
        sa.Column("judge_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("pattern", sa.String(length=80), nullable=False),
        sa.Column("evidence_start", sa.Integer(), nullable=False),
        sa.Column("evidence_end", sa.Integer(), nullable=False),
        sa.Column("demonstrations", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"], name=op.f("fk_generated_question_query_id_query")),
        sa.ForeignKeyConstraint(["passage_id"], ["passage.id"], name=op.f("fk_generated_question_passage_id_passage")),
        sa.ForeignKeyConstraint(["judge_id"], ["judge.id"], name=op.f("fk_generated_question_judge_id_judge")),
        sa.ForeignKeyConstraint(["job_id"], ["label_job.id"], name=op.f("fk_generated_question_job_id_label_job")),
        sa.PrimaryKeyConstraint("query_id", name=op.f("pk_generated_question")),
        sa.CheckConstraint(
            "evidence_start >= 0 AND evidence_end > evidence_start",
            name=op.f("ck_generated_question_evidence_is_a_span"),
        ),
    )
    op.create_index(op.f("ix_generated_question_passage_id"), "generated_question", ["passage_id"])
    op.create_table(
        "questioned_passage",
        sa.Column("passage_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column(
            "outcome",
            sa.Enum(
                "written",
                "unreadable",
                "failed",
                name="question_outcome",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.Column("dropped", JSON, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.Column("reply_key", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["label_job.id"], name=op.f("fk_questioned_passage_job_id_label_job")),
        sa.ForeignKeyConstraint(["passage_id"], ["passage.id"], name=op.f("fk_questioned_passage_passage_id_passage")),
        sa.PrimaryKeyConstraint("passage_id", name=op.f("pk_questioned_passage")),
    )
    op.create_index(op.f("ix_questioned_passage_job_id"), "questioned_passage", ["job_id"])
    if op.get_bind().dialect.name == "sqlite":
        _sqlite_triggers()
    else:
        _postgresql_triggers()


_SPLIT = "SELECT c.split FROM query q JOIN query_cluster c ON c.id = q.cluster_id WHERE q.id = NEW.query_id"
_WHY = "only train questions are generated; calibrate and held-out ones are human"


def _sqlite_triggers() -> None:
    op.execute(
        "CREATE TRIGGER generated_question_train_only BEFORE INSERT ON generated_question "
        f"WHEN ({_SPLIT}) IS NOT 'train' BEGIN SELECT RAISE(ABORT, '{_WHY}'); END"
    )
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER generated_question_no_{verb.lower()} BEFORE {verb} ON generated_question "
            "BEGIN SELECT RAISE(ABORT, 'generated_question is append-only'); END"
        )


def _postgresql_triggers() -> None:
    op.execute(
        "CREATE FUNCTION relabel_generated_train_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF ({_SPLIT}) IS DISTINCT FROM 'train' THEN "
        f"RAISE EXCEPTION '{_WHY}' USING ERRCODE = 'integrity_constraint_violation'; "
        "END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER generated_question_train_only BEFORE INSERT ON generated_question FOR EACH ROW "
        "EXECUTE FUNCTION relabel_generated_train_only()"
    )
    op.execute(
        "CREATE TRIGGER generated_question_append_only BEFORE UPDATE OR DELETE ON generated_question "
        "FOR EACH ROW EXECUTE FUNCTION relabel_refuse('generated_question is append-only')"
    )
