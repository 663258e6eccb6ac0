"""The Labels screen lists every proposal, opens one, and takes an overturned grade."""

from __future__ import annotations

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import labels
from db.enums import LabelSource, Outcome


def html_of(app) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def accepted_pair(workspace: Workspace) -> int:
    page = labels.list_labels(workspace, criterion=Criterion.RELEVANCE, outcome=Outcome.ACCEPTED)
    return page.rows[0].pair_id


def test_every_proposal_is_listed_with_what_was_decided(app, small: Workspace) -> None:
    """An unreadable reply that looks like grade 0 would be taken for a judgement."""
    table = app("labels").dataframe[0].value
    assert len(table) == 12
    assert sorted(table["Decision"].unique()) == ["accepted, uncertified", "rejected"]
    assert (table["Proposed"] == "unreadable reply").sum() == 1
    assert set(table["Judge"]) == {"local judge: no LLM, uncertified"}


def test_the_filters_narrow_the_list(app, small: Workspace) -> None:
    """A filter that silently shows everything hides what was asked for."""
    screen = app("labels")
    screen.button_group(key="labels.decision").set_value("Accepted").run()
    assert list(screen.dataframe[0].value["Decision"]) == ["accepted, uncertified"] * 3
    screen.text_input(key="labels.search").set_value("no such words anywhere").run()
    assert not screen.dataframe
    assert "No label fits" in html_of(screen)


def test_overturning_an_accepted_proposal_makes_a_persons_grade_stand(app, small: Workspace) -> None:
    """An overturned label that still trains as accepted poisons the next model."""
    pair_id = accepted_pair(small)
    screen = app("labels")
    screen.query_params["pair"] = str(pair_id)
    screen.run()
    assert "heapq.merge" in html_of(screen)
    screen.radio(key=f"labels.grade.{pair_id}").set_value(1)
    screen.text_input(key=f"labels.note.{pair_id}").set_value("answers something else")
    next(button for button in screen.button if button.label == "Overturn").click().run()
    assert not screen.exception
    pair = labels.get_pair(small, pair_id=pair_id, criterion=Criterion.RELEVANCE)
    assert (pair.curated_grade, pair.curated_source) == (1, LabelSource.HUMAN)
    assert any(entry.note == "answers something else" for entry in pair.history)


def test_overturning_without_a_grade_changes_nothing(app, small: Workspace) -> None:
    """A form sent by mistake must not grade."""
    pair_id = accepted_pair(small)
    screen = app("labels")
    screen.query_params["pair"] = str(pair_id)
    screen.run()
    next(button for button in screen.button if button.label == "Overturn").click().run()
    assert screen.warning
    assert labels.get_pair(small, pair_id=pair_id, criterion=Criterion.RELEVANCE).curated_grade == 3


def test_without_labels_the_screen_says_how_to_get_some(app, empty: Workspace) -> None:
    """An empty table explains nothing."""
    screen = app("labels")
    assert "No labels yet" in html_of(screen)
    assert "relabel label" in screen.code[0].value
