"""The Judges screen compares judges on blind reviews, says on how many, and what to do where there are none."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from app.bootstrap import Workspace
from app.components.example_trial import verdict
from app.components.intervals import interval_html, interval_text
from app.services.judge_views import IntervalView
from app.services.measured_examples import VALUE, ExampleTrial
from compared import add_compared, add_questions, add_reviews
from db.models import JudgeRow
from db.queries.workspace_values import set_value


def html_of(app) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def captions_of(app) -> str:
    return " ".join(caption.value for caption in app.caption)


def test_the_screen_says_who_is_right_most_often_and_on_how_many_reviews(app, empty: Workspace) -> None:
    """A table without its number of judgements is believed more than it deserves."""
    add_compared(empty)
    screen = app("judges")
    page = html_of(screen)
    assert "careful is right most often, in 92 %" in page
    assert "72 pairs of 12 calibrate questions" in captions_of(screen)
    assert "people call 24 relevant" in captions_of(screen)
    assert page.index("careful") < page.index("hasty")
    assert "rare: imported, uncertified: 6 pairs" in captions_of(screen).replace("\\", "")
    assert "of 18 pairs" in page
    assert "unknown" in page  # nobody knows what an imported judge costs
    assert len(screen.multiselect(key="judges.chosen").options) == 3


def test_choosing_judges_compares_those_alone(app, empty: Workspace) -> None:
    """A judge that labelled six pairs must not shrink the comparison unasked, and must when asked."""
    add_compared(empty)
    screen = app("judges")
    widget = screen.multiselect(key="judges.chosen")
    assert len(widget.value) == 2
    with empty.sessions.read() as session:
        ids = {row.name: row.id for row in session.query(JudgeRow)}
    widget.set_value([ids["careful"], ids["rare"]]).run()
    assert not screen.exception
    assert "6 pairs of 1 calibrate question " in captions_of(screen)
    assert "66 pairs are left out" in captions_of(screen)
    assert "too few for an interval" in html_of(screen)


def test_without_blind_reviews_the_screen_says_how_to_get_some(app, small: Workspace) -> None:
    """An empty table explains nothing, and train reviews that saw the proposal would flatter every judge."""
    screen = app("judges")
    assert "No blind reviews yet" in html_of(screen)
    assert "--split calibrate" in screen.code[0].value


def test_reviews_without_a_judge_ask_for_labels(app, empty: Workspace) -> None:
    """Reviews that nothing is compared with must not look like a fault."""
    add_questions(empty)
    add_reviews(empty)
    screen = app("judges")
    assert "No judge has labelled these pairs" in html_of(screen)
    assert "72 pairs" in html_of(screen)
    assert screen.code[0].value == "relabel label"


def test_a_judges_name_is_shown_and_never_drawn(app, empty: Workspace) -> None:
    """A judge's name comes from a file that anybody may have written."""
    add_compared(empty)
    with empty.sessions.begin() as session:
        row = session.query(JudgeRow).filter_by(name="careful").one()
        row.name = "<img src=x onerror=alert(1)>"
    page = html_of(app("judges"))
    assert "<img" not in page
    assert "&lt;img" in page


def test_an_interval_is_drawn_where_it_lies() -> None:
    """A drawing that says something else than its number."""
    drawn = interval_html(IntervalView(0.5, 0.4, 0.8))
    assert "left:40.0%;width:40.0%" in drawn
    assert "left:50.0%" in drawn
    assert "50 %" in drawn
    assert "40 to 80" in drawn
    assert interval_text(IntervalView(0.5, 0.4, 0.8)) == "50 % (40 to 80 %)"
    assert interval_text(IntervalView(-0.1, None, None), percent=False) == "−0.10"
    assert interval_text(None) == "–"
    assert "too few" in interval_html(IntervalView(0.5, None, None))


def trial(**changed: object) -> ExampleTrial:
    """A measurement in which examples helped."""
    fields: dict[str, object] = {
        "model": "m<b>",
        "prompt_with": "w",
        "prompt_without": "wo",
        "k": 3,
        "n_examples": 40,
        "n_pairs": 120,
        "n_queries": 30,
        "accuracy_with": 0.9,
        "accuracy_without": 0.8,
        "difference": 0.1,
        "low": 0.04,
        "high": 0.16,
        "level": 0.95,
        "helps": True,
        "holds": True,
        "measured_at": datetime(2026, 5, 4, tzinfo=UTC),
        **changed,
    }
    return ExampleTrial(**fields)  # type: ignore[arg-type]


def test_the_measurement_of_examples_is_shown_with_its_interval(app, empty: Workspace) -> None:
    """Examples are switched on because somebody believes in them."""
    add_compared(empty)
    stored = trial()
    with empty.sessions.begin() as session:
        value = {**asdict(stored), "measured_at": stored.measured_at.isoformat(), "reviews": []}
        set_value(session, VALUE, value, now=stored.measured_at)
    screen = app("judges")
    page = html_of(screen)
    assert "+10 points (+4.0 to +16.0)" in page
    assert "m&lt;b&gt;" in page
    assert "120 blind reviews of 30 calibrate questions" in captions_of(screen)
    assert "changed since" in captions_of(screen)  # this workspace asks another model


def test_the_verdict_on_examples_says_what_follows_from_it() -> None:
    """A gain of chance is taken for one of examples."""
    assert verdict(trial()).startswith("They help")
    assert verdict(trial(helps=False, low=-0.01)).startswith("No gain")
    assert "measure again" in verdict(trial(holds=False))
