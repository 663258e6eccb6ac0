"""Kept facts of every pair and kept counts of them: lists are filtered and the Overview read without counting"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_FACTS = (
    "split",
    "status",
    "judge_id",
    "grade",
    "confidence",
    "outcome",
    "certified",
    "person_id",
    "curated_grade",
    "curated_source",
    "candidate",
    "disputed",
    "flagged",
)
_WORDS = ("criterion", "split", "status", "outcome", "curated_source")
"""Columns of a count that hold words; '' stands for none, for a key must not hold NULL."""
_NUMBERS = {"judge_id": 0, "person_id": 0, "curated_grade": -1}
_YES_OR_NO = ("certified", "candidate")
_KEY = (*_WORDS, *_NUMBERS, *_YES_OR_NO)


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    _tables()
    _fill(sqlite)
    if sqlite:
        _sqlite()
    else:
        _postgresql()


def _tables() -> None:
    op.create_table(
        "pair_facts",
        sa.Column("criterion", sa.String(32), nullable=False),
        sa.Column("pair_id", sa.Integer(), nullable=False),
        sa.Column("split", sa.String(32), nullable=True),
        sa.Column("status", sa.String(32), nullable=True),
        sa.Column("judge_id", sa.Integer(), nullable=True),
        sa.Column("grade", sa.Integer(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("outcome", sa.String(32), nullable=True),
        sa.Column("certified", sa.Boolean(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("curated_grade", sa.Integer(), nullable=True),
        sa.Column("curated_source", sa.String(32), nullable=True),
        sa.Column("candidate", sa.Boolean(), nullable=False),
        sa.Column("disputed", sa.Boolean(), nullable=False),
        sa.Column("flagged", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("criterion", "pair_id", name=op.f("pk_pair_facts")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pair_count",
        *(sa.Column(name, sa.String(32), nullable=False) for name in _WORDS),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in _NUMBERS),
        *(sa.Column(name, sa.Boolean(), nullable=False) for name in _YES_OR_NO),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*_KEY, "slot", name=op.f("pk_pair_count")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "candidate_count",
        sa.Column("split", sa.String(32), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("split", "slot", name=op.f("pk_candidate_count")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "usage_count",
        sa.Column("criterion", sa.String(32), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS),
        sa.PrimaryKeyConstraint("criterion", "slot", name=op.f("pk_usage_count")),
        sqlite_with_rowid=False,
    )


_SUMS = ("prompt_tokens", "completion_tokens", "nano_usd", "unpriced")


def _facts(state: str, *, no: str, yes: str, where: str) -> str:
    """What is known of the pairs of `state`, a table or an alias that has the columns of pair_state."""
    return (
        f"SELECT {state}.criterion, {state}.pair_id, c.split, s.status, s.judge_id, s.grade, s.confidence, "
        f"{state}.outcome, CASE WHEN d.certificate_id IS NULL THEN {no} ELSE {yes} END, r.person_id, "
        f"{state}.curated_grade, {state}.curated_source, CASE WHEN k.pair_id IS NULL THEN {no} ELSE {yes} END, "
        f"{state}.disputed, {state}.flagged FROM {where}"
    )


def _joined(state: str, first: str) -> str:
    return (
        f"{first} JOIN pair p ON p.id = {state}.pair_id JOIN query q ON q.id = p.query_id "
        "JOIN query_cluster c ON c.id = q.cluster_id "
        f"LEFT JOIN suggestion s ON s.id = {state}.suggestion_id LEFT JOIN decision d ON d.id = {state}.decision_id "
        f"LEFT JOIN review r ON r.id = {state}.review_id LEFT JOIN candidate k ON k.pair_id = {state}.pair_id"
    )


_COLUMNS = ", ".join(("criterion", "pair_id", *_FACTS))


def _key(row: str) -> list[str]:
    """The key under which a row of pair_facts is counted, in the order of `_KEY`."""
    words = [f"coalesce({row}.{name}, '')" for name in _WORDS]
    numbers = [f"coalesce({row}.{name}, {none})" for name, none in _NUMBERS.items()]
    return [*words, *numbers, *(f"{row}.{name}" for name in _YES_OR_NO)]


def _sums(row: str) -> list[str]:
    """Tokens, billionths of a dollar, and whether tokens were used at no known price."""
    return [
        f"{row}.prompt_tokens",
        f"{row}.completion_tokens",
        f"CAST(round(CAST(coalesce({row}.cost_usd, 0) * 1e9 AS NUMERIC)) AS BIGINT)",
        f"CASE WHEN {row}.cost_usd IS NULL AND {row}.prompt_tokens + {row}.completion_tokens > 0 THEN 1 ELSE 0 END",
    ]


def _fill(sqlite: bool) -> None:
    no, yes = ("0", "1") if sqlite else ("false", "true")
    where = _joined("pair_state", "pair_state")
    op.execute(
        f"INSERT INTO pair_facts ({_COLUMNS}) {_facts('pair_state', no=no, yes=yes, where=where)} "
        "ORDER BY pair_state.criterion, pair_state.pair_id"
    )
    key = ", ".join(_key("f"))
    names = ", ".join(_KEY)
    op.execute(f"INSERT INTO pair_count ({names}, slot, n) SELECT {key}, 0, count(*) FROM pair_facts f GROUP BY {key}")
    op.execute(
        "INSERT INTO candidate_count (split, slot, n) SELECT coalesce(c.split, ''), 0, count(*) FROM candidate k "
        "JOIN pair p ON p.id = k.pair_id JOIN query q ON q.id = p.query_id JOIN query_cluster c ON c.id = q.cluster_id "
        "GROUP BY coalesce(c.split, '')"
    )
    sums = ", ".join(f"sum({one})" for one in _sums("s"))
    op.execute(
        f"INSERT INTO usage_count (criterion, slot, {', '.join(_SUMS)}) "
        f"SELECT s.criterion, 0, {sums} FROM suggestion s GROUP BY s.criterion"
    )


def _sqlite() -> None:
    facts = _facts("n", no="0", yes="1", where=_joined("n", "pair_state n"))
    of_pair = "WHERE n.pair_id = NEW.pair_id AND n.criterion = NEW.criterion"
    _trigger("pair_facts_added", "AFTER INSERT ON pair_state", f"INSERT INTO pair_facts ({_COLUMNS}) {facts} {of_pair}")
    changed = ("suggestion_id", "decision_id", "outcome", "review_id", "curated_grade", "curated_source")
    differ = " OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in (*changed, "disputed", "flagged"))
    names = ", ".join(("criterion", "pair_id", *_FACTS))
    _trigger(
        "pair_facts_changed",
        f"AFTER UPDATE ON pair_state WHEN {differ}",
        f"UPDATE pair_facts SET ({names}) = ({facts} {of_pair}) "
        "WHERE criterion = NEW.criterion AND pair_id = NEW.pair_id",
    )
    _trigger(
        "pair_facts_removed",
        "AFTER DELETE ON pair_state",
        "DELETE FROM pair_facts WHERE criterion = OLD.criterion AND pair_id = OLD.pair_id",
    )
    gone = f"UPDATE pair_count SET n = n - 1 WHERE {_same('OLD')} AND slot = 0"
    come = (
        f"INSERT INTO pair_count ({', '.join(_KEY)}, slot, n) VALUES ({', '.join(_key('NEW'))}, 0, 1) "
        f"ON CONFLICT ({', '.join(_KEY)}, slot) DO UPDATE SET n = n + 1"
    )
    moved = " OR ".join(f"NEW.{name} IS NOT OLD.{name}" for name in _KEY)
    _trigger("pair_count_added", "AFTER INSERT ON pair_facts", come)
    _trigger("pair_count_changed", f"AFTER UPDATE ON pair_facts WHEN {moved}", f"{gone}; {come}")
    _trigger("pair_count_removed", "AFTER DELETE ON pair_facts", gone)
    of_facts = "WHERE criterion IN ('relevance', 'utility') AND pair_id ="
    for name, when, row, is_one, step in (
        ("added", "AFTER INSERT", "NEW", 1, 1),
        ("removed", "AFTER DELETE", "OLD", 0, -1),
    ):
        _trigger(
            f"candidate_count_{name}",
            f"{when} ON candidate",
            "INSERT INTO candidate_count (split, slot, n) SELECT coalesce(c.split, ''), 0, "
            f"{step} FROM pair p JOIN query q ON q.id = p.query_id JOIN query_cluster c ON c.id = q.cluster_id "
            f"WHERE p.id = {row}.pair_id ON CONFLICT (split, slot) DO UPDATE SET n = n + excluded.n; "
            f"UPDATE pair_facts SET candidate = {is_one} {of_facts} {row}.pair_id",
        )
    in_cluster = "FROM pair p JOIN query q ON q.id = p.query_id"
    _trigger(
        "pair_facts_split",
        "AFTER UPDATE OF split ON query_cluster WHEN NEW.split IS NOT OLD.split",
        "".join(
            f"INSERT INTO candidate_count (split, slot, n) SELECT coalesce({row}.split, ''), 0, {step} * count(*) "
            f"{in_cluster} JOIN candidate k ON k.pair_id = p.id WHERE q.cluster_id = NEW.id "
            "ON CONFLICT (split, slot) DO UPDATE SET n = n + excluded.n; "
            for row, step in (("OLD", -1), ("NEW", 1))
        )
        + "UPDATE pair_facts SET split = NEW.split WHERE criterion IN ('relevance', 'utility') "
        f"AND pair_id IN (SELECT p.id {in_cluster} WHERE q.cluster_id = NEW.id)",
    )
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
    _trigger(
        "usage_count_added",
        "AFTER INSERT ON suggestion WHEN NEW.prompt_tokens + NEW.completion_tokens > 0 OR NEW.cost_usd IS NOT NULL",
        f"INSERT INTO usage_count (criterion, slot, {', '.join(_SUMS)}) VALUES (NEW.criterion, 0, "
        f"{', '.join(_sums('NEW'))}) ON CONFLICT (criterion, slot) DO UPDATE SET {added}",
    )


def _same(row: str) -> str:
    return " AND ".join(f"{name} = {value}" for name, value in zip(_KEY, _key(row), strict=True))


def _trigger(name: str, when: str, body: str) -> None:
    op.execute(f"CREATE TRIGGER {name} {when} BEGIN {body}; END")


def _postgresql() -> None:
    """Row by row would take minutes for what comes in bulk, so each statement is counted at once. A count has one row
    for each connection that changed it (`slot`): two reviewers never wait for each other."""
    facts = _facts("n", no="false", yes="true", where=_joined("n", "changed n"))
    update = ", ".join(f"{name} = excluded.{name}" for name in _FACTS)
    old, new = (", ".join(f"{table}.{name}" for name in _FACTS) for table in ("pair_facts", "excluded"))
    _function(
        "relabel_keep_facts",
        f"INSERT INTO pair_facts ({_COLUMNS}) {facts} ORDER BY n.criterion, n.pair_id "
        f"ON CONFLICT (criterion, pair_id) DO UPDATE SET {update} WHERE ({old}) IS DISTINCT FROM ({new});",
    )
    for verb in ("INSERT", "UPDATE"):
        _statement_trigger(f"pair_facts_{verb.lower()}", f"{verb} ON pair_state", "NEW TABLE AS changed", "keep_facts")
    _function(
        "relabel_drop_facts",
        "DELETE FROM pair_facts f USING gone WHERE f.criterion = gone.criterion AND f.pair_id = gone.pair_id;",
    )
    _statement_trigger("pair_facts_delete", "DELETE ON pair_state", "OLD TABLE AS gone", "drop_facts")

    names = ", ".join(_KEY)
    came = f"SELECT {', '.join(_key('a'))}, 1 FROM came a"
    gone = f"SELECT {', '.join(_key('b'))}, -1 FROM gone b"

    def counted(rows: str) -> str:
        return (
            f"INSERT INTO pair_count ({names}, slot, n) SELECT {names}, pg_backend_pid(), sum(step) "
            f"FROM ({rows}) AS x ({names}, step) GROUP BY {names} HAVING sum(step) <> 0 "
            f"ON CONFLICT ({names}, slot) DO UPDATE SET n = pair_count.n + excluded.n;"
        )

    for verb, rows, tables in (
        ("INSERT", came, "NEW TABLE AS came"),
        ("UPDATE", f"{gone} UNION ALL {came}", "OLD TABLE AS gone NEW TABLE AS came"),
        ("DELETE", gone, "OLD TABLE AS gone"),
    ):
        _function(f"relabel_count_pairs_{verb.lower()}", counted(rows))
        _statement_trigger(f"pair_count_{verb.lower()}", f"{verb} ON pair_facts", tables, f"count_pairs_{verb.lower()}")
    for verb, rows, is_one, step in (("INSERT", "NEW", "true", 1), ("DELETE", "OLD", "false", -1)):
        _function(
            f"relabel_count_candidates_{verb.lower()}",
            f"INSERT INTO candidate_count (split, slot, n) SELECT coalesce(c.split, ''), pg_backend_pid(), {step} * "
            "count(*) FROM changed k JOIN pair p ON p.id = k.pair_id JOIN query q ON q.id = p.query_id "
            "JOIN query_cluster c ON c.id = q.cluster_id GROUP BY coalesce(c.split, '') "
            "ON CONFLICT (split, slot) DO UPDATE SET n = candidate_count.n + excluded.n; "
            f"UPDATE pair_facts f SET candidate = {is_one} FROM changed k "
            f"WHERE f.pair_id = k.pair_id AND f.criterion IN ('relevance', 'utility') AND f.candidate <> {is_one};",
        )
        _statement_trigger(
            f"candidate_count_{verb.lower()}",
            f"{verb} ON candidate",
            f"{rows} TABLE AS changed",
            f"count_candidates_{verb.lower()}",
        )
    in_cluster = "FROM pair p JOIN query q ON q.id = p.query_id"
    _function(
        "relabel_keep_split",
        "".join(
            f"INSERT INTO candidate_count (split, slot, n) SELECT coalesce({row}.split, ''), pg_backend_pid(), "
            f"{step} * count(*) {in_cluster} JOIN candidate k ON k.pair_id = p.id WHERE q.cluster_id = NEW.id "
            "ON CONFLICT (split, slot) DO UPDATE SET n = candidate_count.n + excluded.n; "
            for row, step in (("OLD", -1), ("NEW", 1))
        )
        + "UPDATE pair_facts f SET split = NEW.split WHERE f.criterion IN ('relevance', 'utility') "
        f"AND f.pair_id IN (SELECT p.id {in_cluster} WHERE q.cluster_id = NEW.id);",
    )
    op.execute(
        "CREATE TRIGGER pair_facts_split AFTER UPDATE OF split ON query_cluster FOR EACH ROW "
        "WHEN (OLD.split IS DISTINCT FROM NEW.split) EXECUTE FUNCTION relabel_keep_split()"
    )
    sums = ", ".join(f"sum({one})" for one in _sums("s"))
    added = ", ".join(f"{name} = usage_count.{name} + excluded.{name}" for name in _SUMS)
    _function(
        "relabel_count_usage",
        f"INSERT INTO usage_count (criterion, slot, {', '.join(_SUMS)}) SELECT s.criterion, pg_backend_pid(), {sums} "
        f"FROM changed s GROUP BY s.criterion ON CONFLICT (criterion, slot) DO UPDATE SET {added};",
    )
    _statement_trigger("usage_count_insert", "INSERT ON suggestion", "NEW TABLE AS changed", "count_usage")


def _function(name: str, body: str) -> None:
    op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$")


def _statement_trigger(name: str, event: str, tables: str, function: str) -> None:
    op.execute(
        f"CREATE TRIGGER {name} AFTER {event} REFERENCING {tables} FOR EACH STATEMENT "
        f"EXECUTE FUNCTION relabel_{function}()"
    )
