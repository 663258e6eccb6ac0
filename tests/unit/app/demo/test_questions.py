"""The demo questions: every rule that a judged test collection must keep, and the errors when it does not."""

import dataclasses
import importlib.resources
import json
from collections import Counter
from pathlib import Path

import pytest

from app.demo.corpus import DemoPassage, build_corpus, resolve
from app.demo.questions import DemoQuestion, DemoQuestionsError, load_questions, near_duplicates


@pytest.fixture(scope="module")
def corpus() -> list[DemoPassage]:
    return build_corpus()


@pytest.fixture(scope="module")
def names(corpus: list[DemoPassage]) -> dict[str, str]:
    return resolve(corpus)


@pytest.fixture(scope="module")
def questions() -> list[DemoQuestion]:
    return load_questions()


def _relevant(question: DemoQuestion, names: dict[str, str]) -> set[str]:
    return {names[name] for name, grade in question.judgements.items() if grade >= 2}


def test_every_judged_name_is_a_passage_of_this_python(questions: list[DemoQuestion], names: dict[str, str]) -> None:
    """A judgement that points at nothing: its passage counts as unjudged, and every score is too low."""
    missing = {
        question.id: [name for name in question.judgements if name not in names]
        for question in questions
        if any(name not in names for name in question.judgements)
    }
    assert missing == {}


def test_no_question_grades_one_passage_under_two_names(questions: list[DemoQuestion], names: dict[str, str]) -> None:
    """Two grades for one pair, of which the import would keep whichever comes last."""
    for question in questions:
        passages = [names[name] for name in question.judgements]
        assert len(set(passages)) == len(passages), question.id


def test_the_splits_have_the_promised_sizes(questions: list[DemoQuestion]) -> None:
    """Results on 12 held-out questions, where one question more or less decides."""
    assert Counter(question.split for question in questions) == {"train": 110, "calibrate": 40, "held-out": 75}


def test_every_question_has_an_answer_and_tempting_wrong_passages(questions: list[DemoQuestion]) -> None:
    """Questions without negatives, on which a retriever that finds only look-alikes is never caught."""
    for question in questions:
        grades = Counter(question.judgements.values())
        assert grades[3] >= 1, question.id
        assert grades[0] + grades[1] >= 2, question.id
        assert len(question.judgements) >= 5, question.id
        assert question.definition.endswith("."), question.id


def test_held_out_questions_are_half_seen_and_half_unseen(questions: list[DemoQuestion], names: dict[str, str]) -> None:
    """A gain that is only memory: without unseen passages nobody could tell it from learning."""
    trained = set().union(*(_relevant(question, names) for question in questions if question.split == "train"))
    held_out = [question for question in questions if question.split == "held-out"]
    seen = sum(bool(_relevant(question, names) & trained) for question in held_out)
    assert 30 <= seen <= 45
    assert 30 <= len(held_out) - seen <= 45


def test_a_question_does_not_contain_the_name_of_its_answer(questions: list[DemoQuestion]) -> None:
    """A test that word matching wins by construction."""
    # A word of everyday English that this question cannot do without.
    exceptions = {("q001", "heapq.merge")}
    for question in questions:
        words = set(question.text.lower().replace(",", " ").split())
        for name, grade in question.judgements.items():
            last_part = name.rpartition(".")[2].lower()
            if grade == 3 and not name.startswith("topic:") and len(last_part) > 4:
                assert last_part not in words or (question.id, name) in exceptions, (question.id, name)


def test_near_duplicates_share_a_split(questions: list[DemoQuestion]) -> None:
    """A held-out question that training has seen in other words: a score that will not hold."""
    assert all(first.split == second.split for first, second in near_duplicates(questions))


def test_the_file_is_found_as_package_data() -> None:
    """A demo that works in the checkout and not when installed."""
    assert importlib.resources.files("app.demo").joinpath("questions.jsonl").is_file()


def test_questions_cannot_be_changed_by_who_loads_them(questions: list[DemoQuestion]) -> None:
    """Judgements edited in passing by an evaluation, so that the next one measures something else."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        questions[0].split = "train"  # type: ignore[misc]
    with pytest.raises(TypeError):
        questions[0].judgements["heapq"] = 3  # type: ignore[index]


def _edited(tmp_path: Path, questions: list[DemoQuestion], **changes: object) -> Path:
    """The shipped questions as a file in which the first question has other fields."""
    fields: list[dict[str, object]] = [
        {
            "id": question.id,
            "text": question.text,
            "definition": question.definition,
            "split": question.split,
            "judgements": dict(question.judgements),
        }
        for question in questions
    ]
    fields[0].update(changes)
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in fields), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "q002"}, "more than once: q002"),
        ({"id": ""}, "empty id"),
        ({"split": "test"}, "known are train, calibrate, held-out"),
        ({"split": "calibrate"}, "expected"),
        ({"judgements": {"heapq.merge": 4}}, "a grade is 0, 1, 2 or 3"),
        ({"judgements": {"heapq.merge": True}}, "a grade is 0, 1, 2 or 3"),
        ({"judgements": {"heapq.merge": 2}}, "no passage that answers it"),
        ({"judgements": 3}, "line 1 of the demo questions is not a question"),
    ],
)
def test_a_broken_rule_is_named(
    changes: dict[str, object], message: str, tmp_path: Path, questions: list[DemoQuestion]
) -> None:
    """An edited file that loads all the same, and a demo whose numbers mean nothing."""
    with pytest.raises(DemoQuestionsError, match=message) as caught:
        load_questions(_edited(tmp_path, questions, **changes))
    assert caught.value.user_message


def test_near_duplicates_in_different_splits_are_refused(tmp_path: Path, questions: list[DemoQuestion]) -> None:
    """Training on a held-out question with one word changed."""
    other = next(question for question in questions if question.split != questions[0].split)
    with pytest.raises(DemoQuestionsError, match="ask nearly the same"):
        load_questions(_edited(tmp_path, questions, text=other.text))


def test_a_line_that_is_no_json_is_refused(tmp_path: Path) -> None:
    """Half a file taken for a whole one."""
    path = tmp_path / "questions.jsonl"
    path.write_text('{"id": "q001", "text"', encoding="utf-8")
    with pytest.raises(DemoQuestionsError, match="line 1"):
        load_questions(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A traceback on the screen of someone who only pressed "try the demo"."""
    with pytest.raises(DemoQuestionsError, match="cannot be read from"):
        load_questions(tmp_path / "questions.jsonl")
