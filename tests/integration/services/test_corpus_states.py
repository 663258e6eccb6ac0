"""The kept hash of the corpus: always that of the passages as they are, and read without reading them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.bootstrap import Workspace
from app.errors import NothingToDo
from app.services.corpus_states import corpus_hash, keep_corpus_hash
from app.services.importing import import_passages
from db.queries import corpus_state
from db.queries.registry import hash_corpus

ROWS = [("a", "", "Snow is white."), ("b", "Grass", "Grass is green.")]


def computed(workspace: Workspace) -> str:
    """From every passage, whatever is kept."""
    with workspace.sessions.read() as session:
        return hash_corpus(session)[0]


def kept(workspace: Workspace) -> str | None:
    """What is kept, None where a reader has to compute it."""
    with workspace.sessions.read() as session:
        state = corpus_state.read_state(session)
    return state.hash if state.kept else None


def test_every_import_of_passages_changes_what_is_kept(any_workspace: Workspace) -> None:
    """An index over yesterday's passages serves today's, because a number beside them was not brought up to date."""
    with pytest.raises(NothingToDo):
        corpus_hash(any_workspace)
    import_passages(any_workspace, ROWS, source_name="one")
    seen = [corpus_hash(any_workspace)]
    for rows in ([("c", "", "The sky is blue.")], [("a", "", "Snow was white.")]):
        import_passages(any_workspace, rows, source_name="one")
        assert kept(any_workspace) == corpus_hash(any_workspace) == computed(any_workspace)
        seen.append(corpus_hash(any_workspace))
    assert len(set(seen)) == 3
    import_passages(any_workspace, [("a", "", "Snow was white.")], source_name="one")
    assert corpus_hash(any_workspace) == seen[-1]


def test_the_hash_is_read_and_not_computed_by_every_click(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each search reads a hundred thousand passages first."""
    import_passages(workspace, ROWS, source_name="one")
    before = corpus_hash(workspace)
    monkeypatch.setattr(corpus_state, "hash_corpus", lambda session: pytest.fail("every passage was read"))
    assert corpus_hash(workspace) == before


def test_an_import_that_was_killed_leaves_no_hash_of_an_earlier_corpus(any_workspace: Workspace) -> None:
    """Half of a file came in, and the hash still says that nothing did."""
    import_passages(any_workspace, ROWS, source_name="one")
    before = corpus_hash(any_workspace)

    def cut_short() -> object:
        for at in range(2_001):  # one whole batch is written
            yield f"n{at}", "", f"Number {at}."
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_passages(any_workspace, cut_short(), source_name="two")  # type: ignore[arg-type]
    assert kept(any_workspace) is None
    assert before != corpus_hash(any_workspace) == computed(any_workspace)
    keep_corpus_hash(any_workspace)
    assert kept(any_workspace) == computed(any_workspace)


def test_a_hash_computed_before_an_import_is_not_kept_after_it(
    any_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads the passages, an import comes in between, and the old hash is stored over the new state."""
    import_passages(any_workspace, ROWS, source_name="one")
    with any_workspace.sessions.begin() as session:
        corpus_state.mark_changed(session, now=any_workspace.now())
    real: Callable[..., tuple[str, int]] = hash_corpus
    came_in = []

    def slow(session: object) -> tuple[str, int]:
        found = real(session)
        if not came_in:
            came_in.append(True)
            import_passages(any_workspace, [("z", "", "Late.")], source_name="two")
        return found

    monkeypatch.setattr(corpus_state, "hash_corpus", slow)
    keep_corpus_hash(any_workspace)
    assert kept(any_workspace) == computed(any_workspace)


def test_passages_that_an_older_program_added_are_noticed(workspace: Workspace) -> None:
    """A workspace goes back to an older version for a day, whose import knows of no kept hash."""
    import_passages(workspace, ROWS, source_name="one")
    with workspace.sessions.read() as session:
        value = corpus_state.get_value(session, "corpus")
    assert value is not None
    import_passages(workspace, [("z", "", "Late.")], source_name="one")
    with workspace.sessions.begin() as session:
        corpus_state.set_value(session, "corpus", value, now=workspace.now())
    assert corpus_hash(workspace) == computed(workspace)
