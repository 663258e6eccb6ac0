"""The review desk: orders and overlap of the queue, slots of leases, reveals, disputes and flags, views, roles"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_CAUSES = (
    "near-threshold",
    "high-rank",
    "disagreement",
    "false-negative",
    "unreadable",
    "suspect-human",
    "people-only",
    "drawn",
    "other",
)
_ORDERS = ("position", "random_position", "query_position", "oldest_position")


def upgrade() -> None:
    _queue()
    _leases()
    _reviews_and_states()
    _views_and_roles()


def _queue() -> None:
    op.execute("CREATE TEMPORARY TABLE kept_queue AS SELECT * FROM queue_entry")
    op.drop_table("queue_entry")
    op.create_table(
        "queue_entry",
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("random_position", sa.Integer(), nullable=False),
        sa.Column("query_position", sa.Integer(), nullable=False),
        sa.Column("oldest_position", sa.Integer(), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("query_id", sa.Integer(), nullable=False),
        sa.Column("cause", _enum("queue_cause", *_CAUSES), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("judge_id", sa.Integer(), nullable=True),
        sa.Column("grade", sa.Integer(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("open", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_queue_entry_pair_id_pair")),
        sa.ForeignKeyConstraint(["query_id"], ["query.id"], name=op.f("fk_queue_entry_query_id_query")),
        sa.ForeignKeyConstraint(["judge_id"], ["judge.id"], name=op.f("fk_queue_entry_judge_id_judge")),
        sa.PrimaryKeyConstraint("criterion", "version", "position", name=op.f("pk_queue_entry")),
        sa.UniqueConstraint("criterion", "version", "pair_id", name=op.f("uq_queue_entry_criterion_version_pair_id")),
        sa.CheckConstraint(
            "open >= 0 AND open <= wanted AND wanted <= 9", name=op.f("ck_queue_entry_open_at_most_wanted")
        ),
    )
    op.execute(
        "INSERT INTO queue_entry (criterion, version, position, random_position, query_position, oldest_position, "
        "pair_id, query_id, cause, reason, wanted, open) "
        "SELECT k.criterion, k.version, k.position, k.position, k.position, k.position, k.pair_id, p.query_id, "
        "'other', k.reason, 1, CASE WHEN s.review_id IS NULL THEN 1 ELSE 0 END "
        "FROM kept_queue k JOIN pair p ON p.id = k.pair_id "
        "LEFT JOIN pair_state s ON s.pair_id = k.pair_id AND s.criterion = k.criterion"
    )
    op.execute("DROP TABLE kept_queue")
    still_open = sa.text("open > 0")
    for order in _ORDERS:
        op.create_index(
            f"ix_queue_entry_{order}",
            "queue_entry",
            ["criterion", "version", order],
            sqlite_where=still_open,
            postgresql_where=still_open,
        )


def _leases() -> None:
    op.execute("CREATE TEMPORARY TABLE kept_lease AS SELECT * FROM lease")
    op.drop_table("lease")
    op.create_table(
        "lease",
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("criterion", _enum("criterion", "relevance", "utility"), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("card", sa.String(length=64), nullable=False),
        sa.Column("visibility", _enum("visibility", "blind", "shown"), nullable=False),
        sa.Column("reveals", sa.Boolean(), nullable=False),
        sa.Column("review_id", sa.Integer(), nullable=True),
        sa.Column("hidden_check", sa.Boolean(), nullable=False),
        sa.Column("suggestion_id", sa.Integer(), nullable=True),
        sa.Column("batch_id", sa.Integer(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_lease_pair_id_pair")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_lease_person_id_person")),
        sa.ForeignKeyConstraint(["review_id"], ["review.id"], name=op.f("fk_lease_review_id_review")),
        sa.ForeignKeyConstraint(["suggestion_id"], ["suggestion.id"], name=op.f("fk_lease_suggestion_id_suggestion")),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_lease_batch_id_batch")),
        sa.PrimaryKeyConstraint("pair_id", "criterion", "slot", name=op.f("pk_lease")),
        sa.UniqueConstraint("card", name=op.f("uq_lease_card")),
        sa.UniqueConstraint("pair_id", "criterion", "person_id", name=op.f("uq_lease_pair_id_criterion_person_id")),
        sa.CheckConstraint("slot >= 1 AND slot <= 9", name=op.f("ck_lease_slot_from_one")),
    )
    op.create_index(op.f("ix_lease_person_id"), "lease", ["person_id"])
    op.execute(
        "INSERT INTO lease (pair_id, criterion, slot, person_id, card, visibility, reveals, hidden_check, "
        "suggestion_id, batch_id, opened_at, expires_at) "
        "SELECT pair_id, criterion, 1, person_id, card, visibility, "
        f"{_false()}, {_false()}, suggestion_id, batch_id, opened_at, expires_at FROM kept_lease"
    )
    op.execute("DROP TABLE kept_lease")


def _reviews_and_states() -> None:
    for column in (
        "review ADD COLUMN revises_id INTEGER CONSTRAINT fk_review_revises_id_review REFERENCES review (id)",
        f"review ADD COLUMN hidden_check BOOLEAN DEFAULT {_false()} NOT NULL",
        "pair_state ADD COLUMN graders INTEGER DEFAULT 0 NOT NULL",
        f"pair_state ADD COLUMN disputed BOOLEAN DEFAULT {_false()} NOT NULL",
        f"pair_state ADD COLUMN flagged BOOLEAN DEFAULT {_false()} NOT NULL",
    ):
        op.execute(f"ALTER TABLE {column}")
    op.create_index(op.f("ix_review_revises_id"), "review", ["revises_id"])
    for word in ("disputed", "flagged"):
        op.create_index(
            f"ix_pair_state_{word}",
            "pair_state",
            ["criterion", "pair_id"],
            sqlite_where=sa.text(word),
            postgresql_where=sa.text(word),
        )
    standing = (
        "FROM review r WHERE r.pair_id = pair_state.pair_id AND r.criterion = pair_state.criterion "
        "AND r.action IN ('grade', 'adjudicate') AND NOT EXISTS (SELECT 1 FROM review u WHERE u.undoes_id = r.id)"
    )
    op.execute(
        f"UPDATE pair_state SET graders = (SELECT count(DISTINCT r.person_id) {standing}) WHERE review_id IS NOT NULL"
    )
    op.execute(
        f"UPDATE pair_state SET disputed = ((SELECT min(r.grade) {standing}) <> (SELECT max(r.grade) {standing})) "
        f"WHERE graders > 1 AND NOT EXISTS (SELECT 1 {standing} AND r.action = 'adjudicate')"
    )


def _views_and_roles() -> None:
    op.create_table(
        "saved_view",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("screen", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("filters", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_saved_view_person_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_saved_view")),
        sa.UniqueConstraint("person_id", "screen", "name", name=op.f("uq_saved_view_person_id_screen_name")),
    )
    op.create_table(
        "role_change",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("role", _enum("role", "reviewer", "adjudicator", "owner"), nullable=False),
        sa.Column("by_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_role_change_person_id_person")),
        sa.ForeignKeyConstraint(["by_id"], ["person.id"], name=op.f("fk_role_change_by_id_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_change")),
    )
    op.create_index(op.f("ix_role_change_person_id"), "role_change", ["person_id"])
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER role_change_no_{verb.lower()} BEFORE {verb} ON role_change "
                "BEGIN SELECT RAISE(ABORT, 'role_change is append-only'); END"
            )
    else:
        op.execute(
            "CREATE TRIGGER role_change_append_only BEFORE UPDATE OR DELETE ON role_change "
            "FOR EACH ROW EXECUTE FUNCTION relabel_refuse('role_change is append-only')"
        )


def _false() -> str:
    return "0" if op.get_bind().dialect.name == "sqlite" else "false"


def _enum(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=32)
