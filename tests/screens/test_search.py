"""The Search screen: what to do before there is an index, and how moves between two lists are told."""

from __future__ import annotations

from app.bootstrap import Workspace
from app.components.hits import hits_html, move_of, place_of
from app.services.views import SearchHit


def hit(rank: int, other_rank: int | None, text: str = "text") -> SearchHit:
    return SearchHit(passage_id="p", title="", text=text, rank=rank, score=0.5, other_rank=other_rank)


def test_it_asks_for_a_question_first(app, empty: Workspace) -> None:
    """A blank screen with a box explains nothing."""
    assert "Ask something" in " ".join(element.proto.body for element in app("search").get("html"))


def test_without_an_index_it_says_what_to_do(app, small: Workspace) -> None:
    """A search over nothing that answers "nothing found" is a lie."""
    screen = app("search")
    screen.text_input(key="search.question").set_value("merge streams")
    next(button for button in screen.button if button.label == "Search").click().run()
    assert not screen.exception
    assert "relabel pool" in screen.error[0].value


def test_moves_are_told_in_words_and_numbers() -> None:
    """An arrow in the wrong direction turns a regression into a gain."""
    assert move_of(hit(1, 4), other="live model", k=10) == ("▲ 3 higher than in the live model (4)", "rl-up")
    assert move_of(hit(4, 1), other="live model", k=10) == ("▼ 3 lower than in the live model (1)", "rl-down")
    assert move_of(hit(2, 2), other="live model", k=10)[0] == "same place"
    assert place_of(hit(1, 4), other="candidate", k=10) == "rank 4 in the candidate"
    assert move_of(hit(2, None), other="live model", k=10)[0] == "not in the live model's first 10"


def test_a_found_passage_is_never_markup() -> None:
    """Search shows passages nobody has looked at yet."""
    assert "<script>" not in hits_html([hit(1, None, "<script>x</script>")], other=None, k=10)
