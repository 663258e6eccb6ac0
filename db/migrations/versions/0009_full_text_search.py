"""Full-text search over queries, passages and the reasons of suggestions, kept up to date by the database"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

SPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Scripts written without spaces (Thai, Lao, Burmese, Khmer, Chinese, Japanese) and Korean, whose endings stick to the
word: every character is a word of its own, and a word that is looked for is a phrase of them. Part of the stored
index; `db/queries/text_search.py` cuts what is looked for in the same way."""

_PIECE = 256
_TABLES = {"query": ("text",), "passage": ("title", "text"), "suggestion": ("reason",)}


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _sqlite()
    else:
        _postgresql()


def _sqlite() -> None:
    for table, columns in _TABLES.items():
        names = ", ".join(columns)
        spaced = ", ".join(f"{_spaced(column)} AS {column}" for column in columns)
        op.execute(f"CREATE VIEW search_{table}_text AS SELECT id, {spaced} FROM {table}")
        op.execute(
            f"CREATE VIRTUAL TABLE search_{table} USING fts5({names}, content='search_{table}_text', "
            "content_rowid='id', tokenize='unicode61 remove_diacritics 2')"
        )
        op.execute(f"INSERT INTO search_{table}(search_{table}) VALUES ('rebuild')")
        add = (
            f"INSERT INTO search_{table}(rowid, {names}) SELECT id, {names} FROM search_{table}_text WHERE id = NEW.id"
        )
        remove = (
            f"INSERT INTO search_{table}(search_{table}, rowid, {names}) "
            f"SELECT 'delete', id, {names} FROM search_{table}_text WHERE id = OLD.id"
        )
        op.execute(f"CREATE TRIGGER search_{table}_added AFTER INSERT ON {table} BEGIN {add}; END")
        if table == "suggestion":  # append-only
            continue
        # The old words are taken out before the row changes: the view has the old text until then.
        changed = f"UPDATE OF id, {names} ON {table}"
        op.execute(f"CREATE TRIGGER search_{table}_changes BEFORE {changed} BEGIN {remove}; END")
        op.execute(f"CREATE TRIGGER search_{table}_changed AFTER {changed} BEGIN {add}; END")
        op.execute(f"CREATE TRIGGER search_{table}_removed BEFORE DELETE ON {table} BEGIN {remove}; END")


def _spaced(column: str) -> str:
    """The column with a space around every character of the scripts above; cut twice, for one cut would take the
    square of a long text's length."""
    character = (
        "WITH RECURSIVE c(one, rest) AS (SELECT '', piece UNION ALL SELECT substr(rest, 1, 1), substr(rest, 2) "
        f"FROM c WHERE rest <> '') SELECT group_concat(CASE WHEN one GLOB '[{SPACED}]' THEN ' ' || one || ' ' "
        "ELSE one END, '') FROM c"
    )
    return (
        f"CASE WHEN {column} GLOB '*[{SPACED}]*' THEN (WITH RECURSIVE p(piece, left_over) AS "
        f"(SELECT '', {column} UNION ALL SELECT substr(left_over, 1, {_PIECE}), substr(left_over, {_PIECE + 1}) "
        f"FROM p WHERE left_over <> '') SELECT group_concat(({character}), '') FROM p) ELSE {column} END"
    )


def _postgresql() -> None:
    # Punctuation becomes space, or the parser would make one word of a host, a path or a number with its sign. What
    # stands outside ASCII is named: under the C locale PostgreSQL takes all of it for letters.
    ascii_marks = "!\"#$%&''()*+,-./:;<=>?@[\\]^_`{|}~"
    spaces = " " * len(ascii_marks.replace("''", "'"))
    marks = (
        r"[\u00A0-\u00A9\u00AB-\u00B1\u00B4\u00B6-\u00B8\u00BB\u00BF\u00D7\u00F7\u2000-\u206F\u20A0-\u20CF\u2100-\u2BFF"
        r"\u3000-\u3004\u3008-\u3020\u3030\uFE10-\uFE6F\uFF01-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40\uFF5B-\uFF65"
        r"\U0001F000-\U0001FAFF]+"
    )
    scripts = (
        r"([\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u2E80-\u9FFF\uAC00-\uD7AF\uF900-\uFAFF\uFF66-\uFF9F"
        r"\U00020000-\U0003FFFF])"
    )
    cut = (
        f"regexp_replace(regexp_replace(translate(left($1, 200000), '{ascii_marks}', '{spaces}'), "
        rf"'{marks}', ' ', 'g'), '{scripts}', ' \1 ', 'g')"
    )
    op.get_bind().exec_driver_sql(
        "CREATE FUNCTION relabel_words(text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ "
        f"SELECT to_tsvector('simple'::regconfig, {cut}) $$".replace("%", "%%")
    )
    op.get_bind().exec_driver_sql(
        "CREATE FUNCTION relabel_phrase(text, starts boolean) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE AS "
        "$$ SELECT CASE WHEN $2 AND numnode(phrase) > 0 THEN (phrase::text || ':*')::tsquery ELSE phrase END "
        f"FROM (SELECT phraseto_tsquery('simple'::regconfig, {cut}) AS phrase) AS given $$".replace("%", "%%")
    )
    for table, columns in _TABLES.items():
        text = " || ' ' || ".join(columns)
        op.execute(f"CREATE INDEX search_{table} ON {table} USING gin (relabel_words({text}))")
