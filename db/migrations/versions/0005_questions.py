"""Questions that an LLM wrote from a passage, with the evidence for them"""

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
        sa.Column("pattern", sa.String(length=80), nullable=False),
        sa.Column("evidence_start", sa.Integer(), nullable=True),
        sa.Column("evidence_end", sa.Integer(), nullable=True),
        sa.Column("demonstrations", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"], name=op.f("fk_generated_question_query_id_query")),
        sa.ForeignKeyConstraint(["passage_id"], ["passage.id"], name=op.f("fk_generated_question_passage_id_passage")),
        sa.ForeignKeyConstraint(["judge_id"], ["judge.id"], name=op.f("fk_generated_question_judge_id_judge")),
        sa.PrimaryKeyConstraint("query_id", name=op.f("pk_generated_question")),
    )
    op.create_index(op.f("ix_generated_question_passage_id"), "generated_question", ["passage_id"])
