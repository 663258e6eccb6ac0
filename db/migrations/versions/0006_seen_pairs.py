"""Who was served a card that shows the proposal for a pair, so that nobody who has seen it is asked blind"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    criterion = sa.Enum("relevance", "utility", name="criterion", native_enum=False, create_constraint=True, length=32)
    op.create_table(
        "seen_pair",
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("criterion", criterion, nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["pair_id"], ["pair.id"], name=op.f("fk_seen_pair_pair_id_pair")),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name=op.f("fk_seen_pair_person_id_person")),
        sa.PrimaryKeyConstraint("pair_id", "criterion", "person_id", name=op.f("pk_seen_pair")),
    )
    op.execute(
        "INSERT INTO seen_pair (pair_id, criterion, person_id, created_at) "
        "SELECT pair_id, criterion, person_id, MIN(at) FROM ("
        "SELECT pair_id, criterion, person_id, created_at AS at FROM review WHERE visibility = 'shown' "
        "UNION ALL SELECT pair_id, criterion, person_id, opened_at AS at FROM lease WHERE visibility = 'shown'"
        ") AS shown GROUP BY pair_id, criterion, person_id"
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER seen_pair_no_{verb.lower()} BEFORE {verb} ON seen_pair "
                "BEGIN SELECT RAISE(ABORT, 'seen_pair is append-only'); END"
            )
    else:
        op.execute(
            "CREATE TRIGGER seen_pair_append_only BEFORE UPDATE OR DELETE ON seen_pair "
            "FOR EACH ROW EXECUTE FUNCTION relabel_refuse('seen_pair is append-only')"
        )
