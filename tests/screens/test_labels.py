"""The Labels screen lists every proposal, opens one, and takes an overturned grade."""

from __future__ import annotations

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import labels, reviewing, saved_views
from app.services.label_choice import LabelChoice, from_filters, to_address, to_filters
from app.services.names import clean_name
from db.enums import LabelSource, Outcome, Split


def html_of(app) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def chips(app) -> list:
    return [button for button in app.button if str(button.key).startswith("labels.chip.")]


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
    screen.button_group(key="labels.filter.outcome").set_value("Accepted").run()
    assert list(screen.dataframe[0].value["Decision"]) == ["accepted, uncertified"] * 3
    screen.text_input(key="labels.filter.text").set_value("no such words anywhere").run()
    assert not screen.dataframe
    assert "No label fits all of this" in html_of(screen)
    screen.button(key="labels.show_all").click().run()
    assert len(screen.dataframe[0].value) == 12
    assert not chips(screen)
    assert screen.text_input(key="labels.filter.text").value == ""


def test_an_address_narrows_the_list_to_what_it_was_sent_for(app, small: Workspace) -> None:
    """A link to "rejected, unsure" opens all labels, or one mistyped number breaks the page."""
    screen = app("labels")
    wanted = {"outcome": "rejected", "grade": "1", "confidence_from": "0.5", "confidence_to": "0.7", "judge_id": "1"}
    for name, value in (wanted | {"split": "train", "flagged": "perhaps", "reviewed": "no"}).items():
        screen.query_params[name] = value
    screen.run()
    assert not screen.exception
    table = screen.dataframe[0].value
    assert len(table) == 8
    assert set(table["Decision"]) == {"rejected"}
    words = " ".join(chip.label for chip in chips(screen))
    for word in ("Proposed 1", "50 to 70", "Judge", "Split train", "Not graded by people yet"):
        assert word in words.replace("\\", ""), words
    assert "flagged" not in screen.query_params  # what makes no sense is left out, and not passed on
    screen.button(key="labels.chip.confidence").click().run()
    assert "confidence_from" not in screen.query_params
    assert "".join(screen.query_params["grade"]) == "1"
    assert len(chips(screen)) == 4
    screen.button(key="labels.clear").click().run()
    assert not set(screen.query_params) & set(wanted)
    assert len(screen.dataframe[0].value) == 12


def test_going_back_to_an_earlier_address_takes_the_widgets_along(app, small: Workspace) -> None:
    """The list shows the earlier filters, the bar the later ones, and the next click mixes both."""
    screen = app("labels")
    screen.button_group(key="labels.filter.outcome").set_value("Accepted").run()
    screen.query_params["outcome"] = "rejected"  # as the browser's Back does
    screen.run()
    assert set(screen.dataframe[0].value["Decision"]) == {"rejected"}
    assert screen.button_group(key="labels.filter.outcome").value == "Rejected"
    screen.text_input(key="labels.filter.text").set_value("merge").run()
    assert set(screen.dataframe[0].value["Decision"]) == {"rejected"}


def test_what_contradicts_the_blind_splits_is_explained(app, small: Workspace) -> None:
    """Held-out pairs of grade 3 are none, and nobody is told that blind pairs are never found by their proposal."""
    screen = app("labels")
    screen.query_params["split"] = "held-out"
    screen.query_params["grade"] = "3"
    screen.run()
    assert "judge held-out questions blind" in html_of(screen)


def test_a_saved_view_comes_back_with_its_filters_and_is_its_makers_alone(app, small: Workspace) -> None:
    """The filters that a lead set up are gone the next day, or stand in everybody's list."""
    chosen = LabelChoice(outcome=Outcome.REJECTED, grade=1, disputed=False, text="words")
    person = small.settings.person
    for name, shared, whose in (("Mine", False, person), ("Hers", False, "Ada"), ("Ours", True, "Ada")):
        saved_views.save_view(
            small, person=whose, screen="labels", name=name, filters=to_filters(chosen), shared=shared
        )
    found = {view.title: view for view in saved_views.list_views(small, person=person, screen="labels")}
    assert set(found) == {"Mine", "Ours (Ada)"}
    assert {from_filters(view.filters) for view in found.values()} == {chosen}


def test_a_search_of_too_many_words_says_so(app, small: Workspace) -> None:
    """Words after the 64th are dropped, and the list shows pairs that lack them."""
    screen = app("labels")
    screen.text_input(key="labels.filter.text").set_value("東" * 65).run()
    assert not screen.exception
    assert "at most 64 words" in screen.error[0].value.replace("\\", "")
    assert not screen.dataframe


def test_a_choice_survives_its_address_and_hostile_ones_mean_nothing() -> None:
    """A shared link shows other pairs than it was made for, or brings the screen down."""
    choice = LabelChoice(Outcome.ACCEPTED, False, 7, 0, 0.0, 0.7, Split.HELD_OUT, True, True, 'a "b c"')
    assert from_filters(to_address(choice)) == choice
    assert from_filters(to_filters(choice)) == choice
    hostile = {"outcome": "x", "grade": "-1", "judge_id": "9" * 40, "confidence_from": "nan", "confidence_to": "1e400"}
    assert from_filters(hostile | {"split": "", "disputed": "2", "reviewed": None, "text": 5}) == LabelChoice()


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


def test_a_link_is_followed_whatever_the_list_is_narrowed_to(app, small: Workspace) -> None:
    """A link that shows an empty list reads as a pair that is gone; one to a pair that is gone is a dead end."""
    screen = app("labels")
    screen.query_params["text"] = "nothing has these words"
    screen.query_params["pair"] = str(accepted_pair(small))
    screen.run()
    assert "heapq.merge" in html_of(screen)
    screen.query_params["text"] = "merge"
    screen.query_params["pair"] = "999999"
    screen.run()
    assert "not in the workspace" in screen.error[0].value
    screen.button(key="labels.close").click().run()
    assert not screen.error
    assert "pair" not in screen.query_params


def test_a_name_or_search_of_an_address_has_no_unseen_signs(app, small: Workspace) -> None:
    """A zero byte in a link ends in a database error, and a turned direction makes two names look alike."""
    screen = app("labels")
    screen.query_params["text"] = "merge\0"
    screen.run()
    assert not screen.exception
    assert screen.text_input(key="labels.filter.text").value == "merge"
    assert clean_name("\0\u202eBo\u2069\n Reed") == "Bo Reed"
    assert clean_name("\0 \u202e") == ""
    assert clean_name("می\u200cنا") == "می\u200cنا"
    assert reviewing.ensure_person(small, name="Bo\u202e") == "Bo"


def test_without_labels_the_screen_says_how_to_get_some(app, empty: Workspace) -> None:
    """An empty table explains nothing."""
    screen = app("labels")
    assert "No labels yet" in html_of(screen)
    assert "relabel label" in screen.code[0].value
