"""Adapters beside full models, rounds, revocations, the regression set, what to judge first, hybrid mixes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _adapters()
    _rounds()
    _revocations()
    _evaluation_tables()


def _adapters() -> None:
    # Plain SQL: SQLite adds a column with its constraints, but no constraint to a table that stands.
    for column in (
        "model_version ADD COLUMN kind VARCHAR(32) DEFAULT 'full' NOT NULL "
        "CONSTRAINT ck_model_version_model_kind CHECK (kind IN ('full', 'adapter'))",
        "model_version ADD COLUMN encoder_id INTEGER "
        "CONSTRAINT fk_model_version_encoder_id_model_version REFERENCES model_version (id) "
        "CONSTRAINT ck_model_version_adapter_has_encoder CHECK ((kind = 'adapter') = (encoder_id IS NOT NULL))",
        "index_version ADD COLUMN kind VARCHAR(40) DEFAULT 'flat' NOT NULL",
    ):
        op.execute(f"ALTER TABLE {column}")
    op.add_column("index_version", sa.Column("recall", sa.Double(), nullable=True))


def _rounds() -> None:
    op.create_table(
        "training_round",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("status", _enum("round_status", "running", "waiting", "done", "failed", "cancelled"), nullable=False),
        sa.Column("stage", sa.String(length=60), nullable=False),
        sa.Column("pooled_with_id", sa.Integer(), nullable=False),
        sa.Column("label_job_id", sa.Integer(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("n_audits", sa.Integer(), nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("progress", JSON, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["pooled_with_id"], ["model_version.id"], name=op.f("fk_training_round_pooled_with_id_model_version")
        ),
        sa.ForeignKeyConstraint(
            ["label_job_id"], ["label_job.id"], name=op.f("fk_training_round_label_job_id_label_job")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["training_run.id"], name=op.f("fk_training_round_run_id_training_run")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_training_round_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_round")),
        sa.UniqueConstraint("criterion", "number", name=op.f("uq_training_round_criterion_number")),
    )


def _revocations() -> None:
    op.create_table(
        "revocation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("act", _enum("revocation_act", "revoke", "restore"), nullable=False),
        sa.Column("judge_id", sa.Integer(), nullable=True),
        sa.Column("reviewer_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["judge_id"], ["judge.id"], name=op.f("fk_revocation_judge_id_judge")),
        sa.ForeignKeyConstraint(["reviewer_id"], ["person.id"], name=op.f("fk_revocation_reviewer_id_person")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_revocation_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revocation")),
        sa.CheckConstraint("(judge_id IS NULL) <> (reviewer_id IS NULL)", name=op.f("ck_revocation_judge_or_reviewer")),
        sa.CheckConstraint("length(trim(reason)) > 0", name=op.f("ck_revocation_needs_a_reason")),
    )
    op.create_index(op.f("ix_revocation_judge_id"), "revocation", ["judge_id"])
    op.create_index(op.f("ix_revocation_reviewer_id"), "revocation", ["reviewer_id"])
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER revocation_no_{verb.lower()} BEFORE {verb} ON revocation "
                "BEGIN SELECT RAISE(ABORT, 'revocation is append-only'); END"
            )
    else:
        op.execute(
            "CREATE TRIGGER revocation_append_only BEFORE UPDATE OR DELETE ON revocation "
            "FOR EACH ROW EXECUTE FUNCTION relabel_refuse('revocation is append-only')"
        )


def _evaluation_tables() -> None:
    op.create_table(
        "regression_check",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("query_id", sa.Integer(), nullable=False),
        sa.Column("passage_id", sa.Integer(), nullable=False),
        sa.Column("deepest_rank", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"], name=op.f("fk_regression_check_query_id_query")),
        sa.ForeignKeyConstraint(["passage_id"], ["passage.id"], name=op.f("fk_regression_check_passage_id_passage")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_regression_check_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_regression_check")),
        sa.CheckConstraint("deepest_rank >= 1", name=op.f("ck_regression_check_deepest_rank_from_one")),
    )
    op.create_table(
        "judge_first",
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_judge_first_pair_id_pair")),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name=op.f("fk_judge_first_evaluation_id_evaluation")
        ),
        sa.PrimaryKeyConstraint("pair_id", "criterion", name=op.f("pk_judge_first")),
    )
    op.create_index(op.f("ix_judge_first_evaluation_id"), "judge_first", ["evaluation_id"])
    op.create_table(
        "hybrid_mix",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("weights", JSON, nullable=False),
        sa.Column("figures", JSON, nullable=False),
        sa.Column("n_queries", sa.Integer(), nullable=False),
        sa.Column("n_judgements", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_hybrid_mix_model_version_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hybrid_mix")),
    )
    op.create_index(op.f("ix_hybrid_mix_model_version_id"), "hybrid_mix", ["model_version_id"])


def _enum(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)
