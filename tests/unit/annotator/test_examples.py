"""Examples from audits: the nearest ones, of every grade, never of the query itself, and named in the context."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from annotator.judges.base import collect
from annotator.judges.examples import ExampleJudge, ExamplePool
from annotator.judges.scripted import ScriptedJudge
from annotator.prompts.loader import load_prompt
from annotator.types import GradedExample, JudgeRequest, Proposal, Scale


def example(id_: int, query: str, grade: int) -> GradedExample:
    return GradedExample(id_, query, "", f"passage {id_}", grade)


def shared_words(query: str, others: Sequence[str]) -> list[float]:
    return [float(len(set(query.split()) & set(other.split()))) for other in others]


POOL = ExamplePool(
    (
        example(1, "how to bake bread", 0),
        example(2, "how to bake cake", 0),
        example(3, "how to bake rolls", 3),
        example(4, "tax return date", 3),
        example(5, "why is bread stale", 1),
    )
)


def test_the_most_similar_of_each_grade_come_first() -> None:
    """Disaster: three examples of grade 0, from which a judge learns to say 0."""
    nearest = POOL.nearest("how to bake buns", k=3, similarity=shared_words)
    assert [(e.id, e.grade) for e in nearest] == [(1, 0), (3, 3), (5, 1)]
    assert [e.id for e in POOL.nearest("how to bake buns", k=4, similarity=shared_words)] == [1, 2, 3, 5]


def test_an_example_is_never_of_the_query_that_is_judged() -> None:
    """Disaster: the answer itself among the examples, so that examples seem to help."""
    nearest = POOL.nearest("How to  bake BREAD", k=5, similarity=shared_words)
    assert 1 not in [e.id for e in nearest]
    assert len(nearest) == 4


def test_another_audit_makes_another_judge() -> None:
    """Disaster: a calibrator of last month's examples applied to this month's."""
    inner = ScriptedJudge({})
    first = ExampleJudge(inner, pool=POOL, k=2, similarity=shared_words).identity
    more = ExamplePool((*POOL.examples, example(6, "new", 2)))
    changed = ExamplePool((example(1, "how to bake bread", 1), *POOL.examples[1:]))
    others = [ExampleJudge(inner, pool=pool, k=2, similarity=shared_words).identity for pool in (more, changed)]
    assert len({i.parameters["example_pool"] for i in (first, *others)}) == 3
    assert ExamplePool(tuple(reversed(POOL.examples))).hash == POOL.hash


def test_the_judge_shows_its_examples_and_names_the_reviews_behind_them() -> None:
    """Disaster: a label of which nobody can say what the judge had seen."""
    inner = ScriptedJudge({7: 2})
    judge = ExampleJudge(inner, pool=POOL, k=2, similarity=shared_words)
    (result,) = collect(judge, [JudgeRequest(7, "how to bake buns", None, "", "p")])
    assert isinstance(result, Proposal)
    assert result.context == {"examples": [1, 3]}
    assert [e.id for e in inner.asked[0].examples] == [1, 3]


def test_the_prompt_shows_examples_before_the_pair_and_reads_whole_without_any() -> None:
    """Disaster: a grade stands beside the wrong example, or a prompt speaks of examples that are not there."""
    prompt = load_prompt("pointwise_examples")
    plain = JudgeRequest(7, "how to bake buns", None, "", "the passage itself")
    without = prompt.render(plain, Scale())[1].content
    assert "example" not in without
    shown = JudgeRequest(7, "how to bake buns", None, "", "the passage itself", examples=POOL.examples[1:3])
    user = prompt.render(shown, Scale())[1].content
    first, rest = user.split("People gave it grade 0 (unrelated).")
    assert "how to bake cake" in first
    second, last = rest.split("People gave it grade 3 (answers).")
    assert "how to bake rolls" in second
    assert "the passage itself" in last


def test_a_prompt_without_a_place_for_examples_is_the_same_with_and_without() -> None:
    """Disaster: the plain prompt's stored replies are lost because a request carries examples."""
    prompt = load_prompt()
    assert not prompt.shows_examples
    plain = JudgeRequest(7, "q", None, "", "p")
    assert prompt.render(plain, Scale()) == prompt.render(
        JudgeRequest(7, "q", None, "", "p", examples=POOL.examples), Scale()
    )


def test_a_judge_with_no_examples_to_show_is_refused() -> None:
    """Disaster: "with examples" measured without any."""
    with pytest.raises(ValueError, match="needs some"):
        ExampleJudge(ScriptedJudge({}), pool=ExamplePool(()), k=2, similarity=shared_words)
