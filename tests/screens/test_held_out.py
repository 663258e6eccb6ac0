"""Beside a comparison on the Train screen: what to judge first, every query, the regression set, and the override."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module

import pytest
import sqlalchemy as sa

from annotator.types import Criterion
from app.bootstrap import Workspace
from app.services import regression, reviewing
from db import models
from db.enums import ModelStage, PersonKind, Role, RunStatus, Split

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = "<img src=x onerror=alert(1)> **bold** what"
FIGURES = {"nDCG@10": 0.5, "Recall@100": 1.0, "RR@10": 0.5}


def difference(n: int) -> dict[str, float]:
    return {"mean": 0.1, "low": 0.05, "high": 0.15, "p": 0.0004, "n": n}


@pytest.fixture
def compared(small: Workspace) -> Workspace:
    """A finished run whose candidate the gate refused, on one held-out question with two unjudged results."""
    with small.sessions.begin() as session:
        cluster = models.QueryCluster(split=Split.HELD_OUT)
        session.add(cluster)
        session.flush()
        session.add(
            models.Query(
                external_id="h0",
                text=HOSTILE,
                text_key="h" * 64,
                cluster_id=cluster.id,
                source_id=session.scalars(sa.select(models.Source.id)).one(),
                created_at=NOW,
            )
        )
        label_set = models.LabelSet(
            hash="a" * 64, criterion=Criterion.RELEVANCE, n_labels=3, n_queries=3, counts={}, created_at=NOW
        )
        live, new = (
            models.ModelVersion(hash=mark * 64, name=name, path=f"models/{mark}", dim=4, stage=stage, created_at=NOW)
            for mark, name, stage in (("b", "old", ModelStage.LIVE), ("c", "new", ModelStage.CANDIDATE))
        )
        session.add_all([label_set, live, new])
        session.flush()
        session.add(models.LiveModel(id=1, model_version_id=live.id, changed_at=NOW))
        evaluation = models.Evaluation(
            model_version_id=new.id,
            baseline_model_id=live.id,
            label_set_id=label_set.id,
            split=Split.HELD_OUT,
            criterion=Criterion.RELEVANCE,
            qrels_hash="d" * 64,
            look=1,
            n_queries=1,
            n_judgements=1,
            measures={**FIGURES, "unjudged@10": 0.2},
            comparison={
                "baseline": {**FIGURES, "unjudged@10": 0.1},
                "slices": {
                    "unseen": {"nDCG@10": difference(40)},
                    "1 to 4 words": {"nDCG@10": difference(9)},
                    "all": {"nDCG@10": difference(49)},
                },
                "n_to_judge": 2,
                "regression": [
                    {
                        "id": 1,
                        "query": HOSTILE,
                        "passage_id": "p0",
                        "title": "heapq.merge",
                        "deepest_rank": 3,
                        "candidate": 7,
                        "baseline": 2,
                    }
                ],
            },
            per_query=[
                {
                    "query_id": "h0",
                    "text": HOSTILE,
                    "candidate": FIGURES,
                    "baseline": {**FIGURES, "nDCG@10": 0.75},
                    "n_relevant": 1,
                    "seen": False,
                    "unjudged": [0.2, 0.1],
                    "to_judge": [["p0", [2, 0.9], None], ["p1", [1, 0.95], [4, 0.5]]],
                }
            ],
            gate_passed=False,
            gate_reasons=["Not shown to be better."],
            created_at=NOW,
        )
        session.add(evaluation)
        session.flush()
        session.add(
            models.TrainingRun(
                workflow_id="w1",
                label_set_id=label_set.id,
                base_model_id=live.id,
                model_version_id=new.id,
                evaluation_id=evaluation.id,
                status=RunStatus.DONE,
                stage="done",
                settings={"loss": "sum_marginal"},
                report={},
                created_at=NOW,
                finished_at=NOW,
            )
        )
    regression.add_check(small, query="h0", passage_id="p0", deepest_rank=3, person="me", note="**why**")
    return small


def html_of(app) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def captions_of(app) -> str:
    return " ".join(caption.value for caption in app.caption)


def test_one_click_puts_what_nobody_judged_first(app, compared: Workspace) -> None:
    """The gate says that a fifth was never judged, and nobody can do anything about it."""
    screen = app("train")
    button = screen.button(key="train.judge_first")
    assert button.label == "Judge these first (2 pairs)"
    assert "look 2" in captions_of(screen)
    button.click().run()
    assert not screen.exception
    with compared.sessions.read() as session:
        rows = session.scalars(sa.select(models.JudgeFirst).order_by(models.JudgeFirst.rank)).all()
        passages = [session.get_one(models.Pair, row.pair_id).passage_id for row in rows]
        assert [session.get_one(models.Passage, passage).external_id for passage in passages] == ["p1", "p0"]
    assert "0 of 2 pairs to judge first are judged" in captions_of(screen)
    assert "train.compare_again" not in {button.key for button in screen.button}  # nothing new was judged yet
    review = screen.switch_page("screens/review.py").run()
    assert "in the top 10 of a model that is compared, judged by nobody" in html_of(review)


def test_a_comparison_is_repeated_by_a_click_once_more_is_judged_or_another_model_is_live(
    app, compared: Workspace
) -> None:
    """Who judged what was asked for has to find a terminal; or the second look is spent without a word."""
    app("train").button(key="train.judge_first").click().run()
    with compared.sessions.begin() as session:
        asked = session.scalars(sa.select(models.JudgeFirst).order_by(models.JudgeFirst.rank)).first()
        session.execute(sa.delete(models.JudgeFirst).where(models.JudgeFirst.pair_id != asked.pair_id))
    card = reviewing.claim(compared, person="Ada")
    reviewing.grade(compared, card=card.card, person="Ada", grade=3)
    screen = app("train")
    button = screen.button(key="train.compare_again")
    assert button.label == "Compare again (look 2)"
    import_module("retriever.encoder")  # seconds of imports that a click would wait for
    button.click().run()
    assert not screen.exception
    assert "models/" in screen.warning[0].value  # this fixture's models have no files, and the screen says so
    with compared.sessions.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(models.Evaluation)) == 1


def test_parts_with_few_queries_show_their_number_and_no_verdict(app, compared: Workspace) -> None:
    """Nine short queries that "got better" are a story, not a finding."""
    shown = html_of(app("train"))
    short = shown[shown.index("1 to 4 words</td>") :].split("</tr>", 1)[0]
    assert ">9</td>" in short
    assert "too few questions to say" in short
    assert "0.050" not in short
    unseen = shown[shown.index("unseen</td>") :].split("</tr>", 1)[0]
    assert "+0.050 to +0.150" in unseen
    assert "&lt;0.001" in unseen


def test_every_query_is_listed_only_when_asked_for(app, compared: Workspace) -> None:
    """Fifteen hundred rows drawn at every click make the page crawl; none to be had leaves people guessing."""
    screen = app("train")
    assert not screen.get("arrow_data_frame")
    screen.toggle[0].set_value(True).run()
    assert not screen.exception
    (table,) = screen.dataframe
    assert table.value["Question"].tolist() == [HOSTILE]
    assert table.value["Difference"].tolist() == [-0.25]
    assert table.value["Training"].tolist() == ["unseen"]


def test_the_regression_set_shows_what_failed_and_takes_and_retires_pins(app, compared: Workspace) -> None:
    """A check that blocks a promotion and is nowhere to be seen cannot be argued with."""
    screen = app("train")
    shown = html_of(screen)
    assert "✓ 2" in shown
    assert "✕ 7" in shown
    assert HOSTILE not in shown
    screen.text_input(key="train.pin_question").set_value("q0")
    screen.text_input(key="train.pin_passage").set_value("p3")
    screen.number_input(key="train.pin_within").set_value(5)
    screen.button(key="train.pin_submit").click().run()
    assert not screen.exception
    assert [(c.query_id, c.passage_id, c.deepest_rank) for c in regression.list_checks(compared)][1:] == [
        ("q0", "p3", 5)
    ]
    screen.selectbox(key="train.retire_id").set_value(1)
    screen.button(key="train.retire_submit").click().run()
    assert not screen.exception
    assert [check.id for check in regression.list_checks(compared)] == [2]


def test_a_reviewer_who_overrides_the_gate_is_told_that_owners_may(app, compared: Workspace) -> None:
    """A button that does nothing, or a traceback, and the reviewer tries again as somebody else."""
    with compared.sessions.begin() as session:
        session.add(models.Person(name="Olga", kind=PersonKind.REVIEWER, role=Role.OWNER, created_at=NOW))
    screen = app("train")
    screen.text_input(key="train.reason").set_value("I like it")
    screen.button(key="train.promote").click().run()
    assert not screen.exception
    assert "Only an owner of the workspace may promote a model against the gate" in " ".join(
        element.value for element in [*screen.error, *screen.warning, *screen.info]
    ).replace("\\", "")


def test_a_pass_that_counts_no_more_says_why_and_offers_the_override(app, compared: Workspace) -> None:
    """The screen says "Promote", and the click is refused for a reason that nobody could see."""
    with compared.sessions.begin() as session:
        old = session.scalars(sa.select(models.Evaluation)).one()
        values = {c.key: getattr(old, c.key) for c in sa.inspect(models.Evaluation).column_attrs if c.key != "id"}
        passed = models.Evaluation(**{**values, "gate_passed": True})
        session.add(passed)
    screen = app("train")
    assert screen.button(key="train.promote").label == "Promote"
    with compared.sessions.begin() as session:
        other = {**old.comparison, "rests_on": {"corpus": "e" * 64, "last_revocation": 0}}
        session.add(models.Evaluation(**{**values, "gate_passed": True, "comparison": other}))
    screen = app("train")
    assert "The passages changed after this model was compared" in captions_of(screen)
    assert screen.button(key="train.promote").label == "Promote against the gate"
