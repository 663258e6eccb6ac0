"""Triggers: what was said is never changed, a split is set once, and held-out queries never train"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

APPEND_ONLY = (
    "suggestion",
    "review",
    "decision",
    "definition",
    "promotion",
    "evaluation",
    "label_set",
    "label_set_item",
    "certificate",
    "certificate_event",
    "calibrator",
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _sqlite()
    else:
        _postgresql()


def _sqlite() -> None:
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
    op.execute(
        "CREATE TRIGGER query_cluster_split_set_once BEFORE UPDATE OF split ON query_cluster "
        "WHEN OLD.split IS NOT NULL AND NEW.split IS NOT OLD.split "
        "BEGIN SELECT RAISE(ABORT, 'the split of a query is set once'); END"
    )
    op.execute(
        "CREATE TRIGGER query_cluster_fixed BEFORE UPDATE OF cluster_id ON query "
        "WHEN NEW.cluster_id <> OLD.cluster_id "
        "BEGIN SELECT RAISE(ABORT, 'a query stays with its near-duplicates'); END"
    )
    op.execute(
        "CREATE TRIGGER label_set_item_train_only BEFORE INSERT ON label_set_item "
        "WHEN (SELECT c.split FROM pair p JOIN query q ON q.id = p.query_id JOIN query_cluster c "
        "ON c.id = q.cluster_id WHERE p.id = NEW.pair_id) IS NOT 'train' "
        "BEGIN SELECT RAISE(ABORT, 'only queries of the train split train'); END"
    )


def _postgresql() -> None:
    op.execute(
        "CREATE FUNCTION relabel_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION relabel_refuse('{table} is append-only')"
        )
    op.execute(
        "CREATE TRIGGER query_cluster_split_set_once BEFORE UPDATE OF split ON query_cluster FOR EACH ROW "
        "WHEN (OLD.split IS NOT NULL AND NEW.split IS DISTINCT FROM OLD.split) "
        "EXECUTE FUNCTION relabel_refuse('the split of a query is set once')"
    )
    op.execute(
        "CREATE TRIGGER query_cluster_fixed BEFORE UPDATE OF cluster_id ON query FOR EACH ROW "
        "WHEN (NEW.cluster_id <> OLD.cluster_id) "
        "EXECUTE FUNCTION relabel_refuse('a query stays with its near-duplicates')"
    )
    op.execute(
        "CREATE FUNCTION relabel_train_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF (SELECT c.split FROM pair p JOIN query q ON q.id = p.query_id JOIN query_cluster c "
        "ON c.id = q.cluster_id WHERE p.id = NEW.pair_id) IS DISTINCT FROM 'train' THEN "
        "RAISE EXCEPTION 'only queries of the train split train' USING ERRCODE = 'integrity_constraint_violation'; "
        "END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER label_set_item_train_only BEFORE INSERT ON label_set_item FOR EACH ROW "
        "EXECUTE FUNCTION relabel_train_only()"
    )
