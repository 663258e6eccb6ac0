"""The schema: migrated from empty on both databases, equal to the models, and guarding its rules by itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import DBAPIError

import db.models as m
from annotator.types import Criterion
from app.bootstrap import Workspace
from db.base import Base
from db.enums import LabelSource, PersonKind, ReviewAction, Role, Split, Visibility
from db.errors import SchemaTooNew
from db.models.scale import is_modelled
from db.session import connect, upgrade

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _pair(workspace: Workspace, split: Split | None) -> int:
    with workspace.sessions.begin() as session:
        source = m.Source(name=f"s{split}", layout="test", max_grade=3, scale_mapping={}, created_at=NOW)
        cluster = m.QueryCluster(split=split)
        session.add_all([source, cluster])
        session.flush()
        query = m.Query(
            external_id=f"q{split}", text="t", text_key="k", cluster_id=cluster.id, source_id=source.id, created_at=NOW
        )
        passage = m.Passage(
            external_id=f"p{split}", title="", text="t", text_hash="h", source_id=source.id, created_at=NOW
        )
        session.add_all([query, passage])
        session.flush()
        pair = m.Pair(query_id=query.id, passage_id=passage.id)
        session.add(pair)
        session.flush()
        return pair.id


def test_the_migrated_schema_is_the_one_the_models_describe(any_workspace: Workspace) -> None:
    """Prevents a table that works in tests (made from the models) and is missing a column in the field."""
    with any_workspace.sessions.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": is_modelled})
        assert context.get_current_revision() is not None
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_again_changes_nothing_and_a_newer_schema_is_refused(any_workspace: Workspace) -> None:
    """Prevents an old program from writing into a workspace whose newer rules it does not know."""
    upgrade(any_workspace.sessions)
    with any_workspace.sessions.begin() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaTooNew):
        upgrade(any_workspace.sessions)


def test_a_workspace_opens_while_somebody_writes(any_workspace: Workspace) -> None:
    """Prevents fifty people who start at once from waiting for the write lock, and being told the database is gone."""
    url = any_workspace.sessions.engine.url.render_as_string(hide_password=False)
    other = connect(url)
    if other.engine.dialect.name == "sqlite":
        sa.event.listen(other.engine, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout=100"))
    with any_workspace.sessions.begin() as session:
        session.add(m.Person(name="ada", kind=PersonKind.REVIEWER, role=Role.OWNER, created_at=NOW))
        session.flush()
        upgrade(other)
        with other.read() as reading:
            assert session.scalars(sa.select(m.Person.name)).all() == ["ada"]
            assert reading.scalars(sa.select(m.Person.name)).all() == []  # opened, and before what is being written
    other.dispose()


def test_rows_written_under_the_first_revision_survive_the_next_ones(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Prevents an upgrade that loses what people wrote."""
    sessions = connect(f"sqlite:///{tmp_path / 'old.sqlite'}")
    upgrade(sessions, "0001")
    with sessions.begin() as session:
        session.add(m.Person(name="ada", kind=PersonKind.REVIEWER, role=Role.OWNER, created_at=NOW))
    upgrade(sessions)
    with sessions.read() as session:
        assert session.scalars(sa.select(m.Person.name)).all() == ["ada"]
    sessions.dispose()


@pytest.mark.parametrize("verb", ["UPDATE review SET note = 'x'", "DELETE FROM review"])
def test_a_stored_review_can_be_neither_changed_nor_deleted(any_workspace: Workspace, verb: str) -> None:
    """Prevents a person's submitted judgement from being lost or rewritten, whatever the code above does."""
    pair_id = _pair(any_workspace, Split.TRAIN)
    with any_workspace.sessions.begin() as session:
        person = m.Person(name="ada", kind=PersonKind.REVIEWER, role=Role.REVIEWER, created_at=NOW)
        session.add(person)
        session.flush()
        session.add(
            m.Review(
                pair_id=pair_id,
                criterion=Criterion.RELEVANCE,
                person_id=person.id,
                action=ReviewAction.GRADE,
                grade=2,
                visibility=Visibility.BLIND,
                created_at=NOW,
            )
        )
    with pytest.raises(DBAPIError, match="append-only"), any_workspace.sessions.begin() as session:
        session.execute(sa.text(verb))
    with any_workspace.sessions.read() as session:
        assert session.scalars(sa.select(m.Review.grade)).all() == [2]


def test_a_split_is_set_once(any_workspace: Workspace) -> None:
    """Prevents a held-out query from being moved to training after somebody looked at its score."""
    _pair(any_workspace, None)
    with any_workspace.sessions.begin() as session:
        session.execute(sa.update(m.QueryCluster).values(split=Split.HELD_OUT))
    with pytest.raises(DBAPIError, match="set once"), any_workspace.sessions.begin() as session:
        session.execute(sa.update(m.QueryCluster).values(split=Split.TRAIN))


@pytest.mark.parametrize("split", [Split.HELD_OUT, Split.CALIBRATE, None])
def test_only_train_queries_enter_a_label_set(any_workspace: Workspace, split: Split | None) -> None:
    """Prevents training on the very questions that are to prove whether training helped."""
    pair_id = _pair(any_workspace, split)
    with any_workspace.sessions.begin() as session:
        label_set = m.LabelSet(
            hash="h", criterion=Criterion.RELEVANCE, n_labels=1, n_queries=1, counts={}, created_at=NOW
        )
        session.add(label_set)
    with pytest.raises(DBAPIError, match="only queries of the train split"), any_workspace.sessions.begin() as session:
        session.add(
            m.LabelSetItem(label_set_id=label_set.id, pair_id=pair_id, grade=3, weight=1, source=LabelSource.HUMAN)
        )


def test_a_naive_moment_is_refused_and_a_zoned_one_comes_back_in_utc(any_workspace: Workspace) -> None:
    """Prevents times that silently shift by the server's zone."""
    with pytest.raises(sa.exc.StatementError, match="time zone"), any_workspace.sessions.begin() as session:
        session.add(
            m.Person(name="n", kind=PersonKind.REVIEWER, role=Role.OWNER, created_at=datetime(2026, 1, 1))  # noqa: DTZ001
        )
    with any_workspace.sessions.begin() as session:
        session.add(m.Person(name="z", kind=PersonKind.REVIEWER, role=Role.OWNER, created_at=NOW))
    with any_workspace.sessions.read() as session:
        assert session.scalars(sa.select(m.Person.created_at)).one() == NOW
