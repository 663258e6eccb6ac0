"""Every table of the design"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _enum(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)


def upgrade() -> None:
    op.create_table(
        "judge",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", _enum("judge_kind", "llm", "local", "retriever", "ensemble", "imported"), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("prompt_version", sa.String(length=64), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("certifiable", sa.Boolean(), nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("parameters_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judge")),
        sa.UniqueConstraint(
            "name",
            "prompt_version",
            "criterion",
            "parameters_hash",
            name=op.f("uq_judge_name_prompt_version_criterion_parameters_hash"),
        ),
    )
    op.create_table(
        "model_version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("dim", sa.Integer(), nullable=False),
        sa.Column("stage", _enum("model_stage", "candidate", "live", "retired"), nullable=False),
        sa.Column("base_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["base_id"], ["model_version.id"], name=op.f("fk_model_version_base_id_model_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sa.UniqueConstraint("hash", name=op.f("uq_model_version_hash")),
    )
    op.create_table(
        "person",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", _enum("person_kind", "reviewer", "imported"), nullable=False),
        sa.Column("role", _enum("role", "reviewer", "adjudicator", "owner"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_person")),
        sa.UniqueConstraint("name", name=op.f("uq_person_name")),
    )
    op.create_table(
        "policy",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("kind", _enum("policy_kind", "bare-threshold", "certified"), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy")),
        sa.UniqueConstraint("version", "criterion", name=op.f("uq_policy_version_criterion")),
    )
    op.create_table(
        "query_cluster",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("split", _enum("split", "train", "calibrate", "held-out"), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_query_cluster")),
    )
    op.create_index(op.f("ix_query_cluster_split"), "query_cluster", ["split"], unique=False)

    op.create_table(
        "reply_cache",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("reply", JSON, nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_reply_cache")),
    )
    op.create_table(
        "source",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=500), nullable=False),
        sa.Column("layout", sa.String(length=40), nullable=False),
        sa.Column("max_grade", sa.Integer(), nullable=True),
        sa.Column("scale_mapping", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("name", name=op.f("uq_source_name")),
    )
    op.create_table(
        "workspace_value",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("value", JSON, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_workspace_value")),
    )
    op.create_table(
        "calibrator",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("judge_id", sa.Integer(), nullable=False),
        sa.Column("confidence_kind", _enum("confidence_kind", "token", "verbal", "votes", "retriever"), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("parameters", JSON, nullable=False),
        sa.Column("n_reviews", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["judge_id"], ["judge.id"], name=op.f("fk_calibrator_judge_id_judge")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibrator")),
    )
    op.create_index(op.f("ix_calibrator_judge_id"), "calibrator", ["judge_id"], unique=False)

    op.create_table(
        "import_rejection",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_import_rejection_source_id_source")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_rejection")),
    )
    op.create_index(op.f("ix_import_rejection_source_id"), "import_rejection", ["source_id"], unique=False)

    op.create_table(
        "index_version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("system", sa.String(length=80), nullable=False),
        sa.Column("corpus_hash", sa.String(length=64), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("n_passages", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_index_version_model_version_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_index_version")),
        sa.UniqueConstraint("system", "corpus_hash", name=op.f("uq_index_version_system_corpus_hash")),
    )
    op.create_index(op.f("ix_index_version_model_version_id"), "index_version", ["model_version_id"], unique=False)

    op.create_table(
        "label_job",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("judge_id", sa.Integer(), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("n_pairs", sa.Integer(), nullable=False),
        sa.Column("token_cap", sa.Integer(), nullable=True),
        sa.Column("cost_cap_usd", sa.Double(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["judge_id"], ["judge.id"], name=op.f("fk_label_job_judge_id_judge")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_job")),
    )
    op.create_table(
        "label_set",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("n_labels", sa.Integer(), nullable=False),
        sa.Column("n_queries", sa.Integer(), nullable=False),
        sa.Column("counts", JSON, nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_label_set_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_set")),
        sa.UniqueConstraint("hash", name=op.f("uq_label_set_hash")),
    )
    op.create_table(
        "passage",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.String(length=500), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("text_hash", sa.String(length=64), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_passage_source_id_source")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passage")),
        sa.UniqueConstraint("external_id", name=op.f("uq_passage_external_id")),
    )
    op.create_table(
        "query",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.String(length=500), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("text_key", sa.String(length=64), nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["query_cluster.id"], name=op.f("fk_query_cluster_id_query_cluster")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_query_source_id_source")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_query")),
        sa.UniqueConstraint("external_id", name=op.f("uq_query_external_id")),
    )
    op.create_index(op.f("ix_query_cluster_id"), "query", ["cluster_id"], unique=False)
    op.create_index(op.f("ix_query_text_key"), "query", ["text_key"], unique=False)

    op.create_table(
        "certificate",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("batch_hash", sa.String(length=64), nullable=False),
        sa.Column("judge_id", sa.Integer(), nullable=False),
        sa.Column("calibrator_id", sa.Integer(), nullable=True),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("relevant_class", sa.Boolean(), nullable=False),
        sa.Column("epsilon", sa.Double(), nullable=False),
        sa.Column("delta", sa.Double(), nullable=False),
        sa.Column("n_audits", sa.Integer(), nullable=False),
        sa.Column("n_errors", sa.Integer(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("coverage", sa.Double(), nullable=False),
        sa.Column("recall_relevant", sa.Double(), nullable=True),
        sa.Column("details", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["calibrator_id"], ["calibrator.id"], name=op.f("fk_certificate_calibrator_id_calibrator")
        ),
        sa.ForeignKeyConstraint(["judge_id"], ["judge.id"], name=op.f("fk_certificate_judge_id_judge")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate")),
    )
    op.create_index(op.f("ix_certificate_batch_hash"), "certificate", ["batch_hash"], unique=False)

    op.create_table(
        "definition",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("query_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("judge_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["judge_id"], ["judge.id"], name=op.f("fk_definition_judge_id_judge")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_definition_person_id_person")),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"], name=op.f("fk_definition_query_id_query")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_definition")),
        sa.UniqueConstraint("query_id", "version", name=op.f("uq_definition_query_id_version")),
    )
    op.create_table(
        "evaluation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("baseline_model_id", sa.Integer(), nullable=True),
        sa.Column("label_set_id", sa.Integer(), nullable=True),
        sa.Column("split", _enum("split", "train", "calibrate", "held-out"), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("qrels_hash", sa.String(length=64), nullable=False),
        sa.Column("look", sa.Integer(), nullable=False),
        sa.Column("n_queries", sa.Integer(), nullable=False),
        sa.Column("n_judgements", sa.Integer(), nullable=False),
        sa.Column("measures", JSON, nullable=False),
        sa.Column("comparison", JSON, nullable=False),
        sa.Column("per_query", JSON, nullable=False),
        sa.Column("gate_passed", sa.Boolean(), nullable=True),
        sa.Column("gate_reasons", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["baseline_model_id"], ["model_version.id"], name=op.f("fk_evaluation_baseline_model_id_model_version")
        ),
        sa.ForeignKeyConstraint(["label_set_id"], ["label_set.id"], name=op.f("fk_evaluation_label_set_id_label_set")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_evaluation_model_version_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
    )
    op.create_index(op.f("ix_evaluation_model_version_id"), "evaluation", ["model_version_id"], unique=False)
    op.create_index(op.f("ix_evaluation_qrels_hash"), "evaluation", ["qrels_hash"], unique=False)

    op.create_table(
        "live_model",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("index_version_id", sa.Integer(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_live_model_one_row")),
        sa.ForeignKeyConstraint(
            ["index_version_id"], ["index_version.id"], name=op.f("fk_live_model_index_version_id_index_version")
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_live_model_model_version_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_model")),
    )
    op.create_table(
        "pair",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("query_id", sa.Integer(), nullable=False),
        sa.Column("passage_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["passage_id"], ["passage.id"], name=op.f("fk_pair_passage_id_passage")),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"], name=op.f("fk_pair_query_id_query")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pair")),
        sa.UniqueConstraint("query_id", "passage_id", name=op.f("uq_pair_query_id_passage_id")),
    )
    op.create_index(op.f("ix_pair_passage_id"), "pair", ["passage_id"], unique=False)

    op.create_table(
        "spend_entry",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("state", _enum("spend_state", "reserved", "settled"), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["label_job.id"], name=op.f("fk_spend_entry_job_id_label_job")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spend_entry")),
    )
    op.create_index(op.f("ix_spend_entry_job_id"), "spend_entry", ["job_id"], unique=False)

    op.create_table(
        "candidate",
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("pool_size", sa.Integer(), nullable=False),
        sa.Column("pooled_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_candidate_pair_id_pair")),
        sa.PrimaryKeyConstraint("pair_id", name=op.f("pk_candidate")),
    )
    op.create_table(
        "candidate_hit",
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("system", sa.String(length=80), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_candidate_hit_pair_id_pair")),
        sa.PrimaryKeyConstraint("pair_id", "system", name=op.f("pk_candidate_hit")),
    )
    op.create_table(
        "certificate_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("certificate_id", sa.Integer(), nullable=False),
        sa.Column("state", _enum("certificate_state", "issued", "suspended"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["certificate.id"], name=op.f("fk_certificate_event_certificate_id_certificate")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate_event")),
    )
    op.create_index(op.f("ix_certificate_event_certificate_id"), "certificate_event", ["certificate_id"], unique=False)

    op.create_table(
        "label_failure",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("judge_id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["label_job.id"], name=op.f("fk_label_failure_job_id_label_job")),
        sa.ForeignKeyConstraint(["judge_id"], ["judge.id"], name=op.f("fk_label_failure_judge_id_judge")),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_label_failure_pair_id_pair")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_failure")),
    )
    op.create_index(op.f("ix_label_failure_job_id"), "label_failure", ["job_id"], unique=False)
    op.create_index(op.f("ix_label_failure_pair_id_judge_id"), "label_failure", ["pair_id", "judge_id"], unique=False)

    op.create_table(
        "lease",
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("card", sa.String(length=64), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_lease_pair_id_pair")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_lease_person_id_person")),
        sa.PrimaryKeyConstraint("pair_id", "criterion", name=op.f("pk_lease")),
        sa.UniqueConstraint("card", name=op.f("uq_lease_card")),
    )
    op.create_index(op.f("ix_lease_person_id"), "lease", ["person_id"], unique=False)

    op.create_table(
        "promotion",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=False),
        sa.Column("previous_model_id", sa.Integer(), nullable=True),
        sa.Column("evaluation_id", sa.Integer(), nullable=True),
        sa.Column("cause", _enum("promotion_cause", "first", "gate", "override", "rollback"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "cause <> 'override' OR length(trim(reason)) > 0", name=op.f("ck_promotion_override_needs_a_reason")
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name=op.f("fk_promotion_evaluation_id_evaluation")
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_promotion_model_version_id_model_version")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_promotion_person_id_person")),
        sa.ForeignKeyConstraint(
            ["previous_model_id"], ["model_version.id"], name=op.f("fk_promotion_previous_model_id_model_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion")),
    )
    op.create_table(
        "queue_entry",
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_queue_entry_pair_id_pair")),
        sa.PrimaryKeyConstraint("criterion", "version", "position", name=op.f("pk_queue_entry")),
        sa.UniqueConstraint("criterion", "version", "pair_id", name=op.f("uq_queue_entry_criterion_version_pair_id")),
    )
    op.create_table(
        "suggestion",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("judge_id", sa.Integer(), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("source_id", sa.Integer(), nullable=True),
        sa.Column("definition_id", sa.Integer(), nullable=True),
        sa.Column("status", _enum("suggestion_status", "ok", "unreadable"), nullable=False),
        sa.Column("grade", sa.Integer(), nullable=True),
        sa.Column("original_grade", sa.String(length=40), nullable=True),
        sa.Column("grade_distribution", JSON, nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("confidence_kind", _enum("confidence_kind", "token", "verbal", "votes", "retriever"), nullable=True),
        sa.Column("evidence_start", sa.Integer(), nullable=True),
        sa.Column("evidence_end", sa.Integer(), nullable=True),
        sa.Column("evidence_dropped", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raw_reply", sa.Text(), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(status = 'ok') = (grade IS NOT NULL)", name=op.f("ck_suggestion_grade_only_when_readable")
        ),
        sa.CheckConstraint(
            "(confidence IS NULL) = (confidence_kind IS NULL)", name=op.f("ck_suggestion_confidence_has_a_kind")
        ),
        sa.CheckConstraint(
            "confidence IS NULL OR (confidence >= 0 AND confidence <= 1)", name=op.f("ck_suggestion_confidence_range")
        ),
        sa.ForeignKeyConstraint(
            ["definition_id"], ["definition.id"], name=op.f("fk_suggestion_definition_id_definition")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["label_job.id"], name=op.f("fk_suggestion_job_id_label_job")),
        sa.ForeignKeyConstraint(["judge_id"], ["judge.id"], name=op.f("fk_suggestion_judge_id_judge")),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_suggestion_pair_id_pair")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_suggestion_source_id_source")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suggestion")),
    )
    op.create_index(op.f("ix_suggestion_job_id"), "suggestion", ["job_id"], unique=False)
    op.create_index(op.f("ix_suggestion_judge_id_pair_id"), "suggestion", ["judge_id", "pair_id"], unique=False)
    op.create_index(op.f("ix_suggestion_pair_id_criterion"), "suggestion", ["pair_id", "criterion"], unique=False)

    op.create_table(
        "training_run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=True),
        sa.Column("workflow_id", sa.String(length=100), nullable=False),
        sa.Column("label_set_id", sa.Integer(), nullable=False),
        sa.Column("base_model_id", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.Integer(), nullable=True),
        sa.Column("evaluation_id", sa.Integer(), nullable=True),
        sa.Column("status", _enum("run_status", "queued", "running", "done", "failed", "cancelled"), nullable=False),
        sa.Column("stage", sa.String(length=60), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("report", JSON, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(active IS NOT NULL) = (status IN ('queued', 'running'))",
            name=op.f("ck_training_run_active_matches_status"),
        ),
        sa.ForeignKeyConstraint(
            ["base_model_id"], ["model_version.id"], name=op.f("fk_training_run_base_model_id_model_version")
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name=op.f("fk_training_run_evaluation_id_evaluation")
        ),
        sa.ForeignKeyConstraint(
            ["label_set_id"], ["label_set.id"], name=op.f("fk_training_run_label_set_id_label_set")
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.id"], name=op.f("fk_training_run_model_version_id_model_version")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_training_run_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_run")),
        sa.UniqueConstraint("workflow_id", name=op.f("uq_training_run_workflow_id")),
    )
    op.create_index("uq_training_run_one_active", "training_run", ["active"], unique=True)

    op.create_table(
        "decision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("suggestion_id", sa.Integer(), nullable=False),
        sa.Column("policy_id", sa.Integer(), nullable=False),
        sa.Column("certificate_id", sa.Integer(), nullable=True),
        sa.Column("outcome", _enum("outcome", "accepted", "rejected"), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["certificate.id"], name=op.f("fk_decision_certificate_id_certificate")
        ),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_decision_pair_id_pair")),
        sa.ForeignKeyConstraint(["policy_id"], ["policy.id"], name=op.f("fk_decision_policy_id_policy")),
        sa.ForeignKeyConstraint(
            ["suggestion_id"], ["suggestion.id"], name=op.f("fk_decision_suggestion_id_suggestion")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
    )
    op.create_index(op.f("ix_decision_pair_id"), "decision", ["pair_id"], unique=False)
    op.create_index(op.f("ix_decision_suggestion_id"), "decision", ["suggestion_id"], unique=False)

    op.create_table(
        "review",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("action", _enum("review_action", "grade", "skip", "flag", "undo", "adjudicate"), nullable=False),
        sa.Column("grade", sa.Integer(), nullable=True),
        sa.Column("original_grade", sa.String(length=40), nullable=True),
        sa.Column("visibility", _enum("visibility", "blind", "shown"), nullable=False),
        sa.Column("suggestion_id", sa.Integer(), nullable=True),
        sa.Column("undoes_id", sa.Integer(), nullable=True),
        sa.Column("source_id", sa.Integer(), nullable=True),
        sa.Column("card", sa.String(length=64), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(action = 'undo') = (undoes_id IS NOT NULL)", name=op.f("ck_review_undo_names_a_review")),
        sa.CheckConstraint(
            "(action IN ('grade', 'adjudicate')) = (grade IS NOT NULL)", name=op.f("ck_review_grade_when_graded")
        ),
        sa.CheckConstraint("seconds IS NULL OR seconds >= 0", name=op.f("ck_review_seconds_not_negative")),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_review_pair_id_pair")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_review_person_id_person")),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name=op.f("fk_review_source_id_source")),
        sa.ForeignKeyConstraint(["suggestion_id"], ["suggestion.id"], name=op.f("fk_review_suggestion_id_suggestion")),
        sa.ForeignKeyConstraint(["undoes_id"], ["review.id"], name=op.f("fk_review_undoes_id_review")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
        sa.UniqueConstraint("card", name=op.f("uq_review_card")),
        sa.UniqueConstraint("undoes_id", name=op.f("uq_review_undoes_id")),
    )
    op.create_index(op.f("ix_review_pair_id_criterion"), "review", ["pair_id", "criterion"], unique=False)
    op.create_index(op.f("ix_review_person_id_created_at"), "review", ["person_id", "created_at"], unique=False)

    op.create_table(
        "training_point",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["training_run.id"], name=op.f("fk_training_point_run_id_training_run")),
        sa.PrimaryKeyConstraint("run_id", "step", name=op.f("pk_training_point")),
    )
    op.create_table(
        "label_set_item",
        sa.Column("label_set_id", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("grade", sa.Double(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column(
            "source", _enum("label_source", "adjudicated", "human", "accepted", "self", "proposed"), nullable=False
        ),
        sa.Column("suggestion_id", sa.Integer(), nullable=True),
        sa.Column("decision_id", sa.Integer(), nullable=True),
        sa.Column("review_id", sa.Integer(), nullable=True),
        sa.CheckConstraint("weight > 0", name=op.f("ck_label_set_item_weight_positive")),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name=op.f("fk_label_set_item_decision_id_decision")),
        sa.ForeignKeyConstraint(
            ["label_set_id"], ["label_set.id"], name=op.f("fk_label_set_item_label_set_id_label_set")
        ),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_label_set_item_pair_id_pair")),
        sa.ForeignKeyConstraint(["review_id"], ["review.id"], name=op.f("fk_label_set_item_review_id_review")),
        sa.ForeignKeyConstraint(
            ["suggestion_id"], ["suggestion.id"], name=op.f("fk_label_set_item_suggestion_id_suggestion")
        ),
        sa.PrimaryKeyConstraint("label_set_id", "pair_id", name=op.f("pk_label_set_item")),
    )
    op.create_index(op.f("ix_label_set_item_pair_id"), "label_set_item", ["pair_id"], unique=False)

    op.create_table(
        "pair_state",
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("suggestion_id", sa.Integer(), nullable=True),
        sa.Column("decision_id", sa.Integer(), nullable=True),
        sa.Column("outcome", _enum("outcome", "accepted", "rejected"), nullable=True),
        sa.Column("review_id", sa.Integer(), nullable=True),
        sa.Column("curated_grade", sa.Integer(), nullable=True),
        sa.Column(
            "curated_source",
            _enum("label_source", "adjudicated", "human", "accepted", "self", "proposed"),
            nullable=True,
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(curated_grade IS NULL) = (curated_source IS NULL)", name=op.f("ck_pair_state_grade_has_a_source")
        ),
        sa.ForeignKeyConstraint(["decision_id"], ["decision.id"], name=op.f("fk_pair_state_decision_id_decision")),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_pair_state_pair_id_pair")),
        sa.ForeignKeyConstraint(["review_id"], ["review.id"], name=op.f("fk_pair_state_review_id_review")),
        sa.ForeignKeyConstraint(
            ["suggestion_id"], ["suggestion.id"], name=op.f("fk_pair_state_suggestion_id_suggestion")
        ),
        sa.PrimaryKeyConstraint("pair_id", "criterion", name=op.f("pk_pair_state")),
    )
    op.create_index(
        op.f("ix_pair_state_criterion_curated_source"), "pair_state", ["criterion", "curated_source"], unique=False
    )
    op.create_index(
        op.f("ix_pair_state_criterion_outcome_review_id"),
        "pair_state",
        ["criterion", "outcome", "review_id"],
        unique=False,
    )
