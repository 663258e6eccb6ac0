"""The demo questions: 225 questions a programmer would ask, each judged by hand against the demo corpus.

The judgements name passages by qualified name (`heapq.merge`, `topic:with#2`); `app.demo.corpus.resolve` turns a name
into a passage id. They were written before any retriever was run on them, and no retriever chose what was judged.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import MappingProxyType

QUESTIONS = Path(__file__).with_name("questions.jsonl")

SPLIT_SIZES = MappingProxyType({"train": 110, "calibrate": 40, "held-out": 75})
HIGHEST_GRADE = 3
# Our choice: two questions that share half of their words ask the same thing.
NEAR_DUPLICATE_OVERLAP = 0.5


class DemoQuestionsError(Exception):
    """The demo questions that ship with Relabel break a rule; the installation is damaged or was edited."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.user_message = "The demo questions that ship with Relabel cannot be read. Install Relabel again."


@dataclass(frozen=True, slots=True)
class DemoQuestion:
    """One question; `judgements` are grades 0..3 by qualified name, 3 answers it."""

    id: str
    text: str
    definition: str
    split: str
    judgements: Mapping[str, int]


def load_questions(path: Path = QUESTIONS) -> list[DemoQuestion]:
    """The demo questions in the order of the file, with every rule checked.

    Raises:
        DemoQuestionsError: a line is not a question, an id comes twice, a grade is not 0..3, a question has no
            answer, the splits have the wrong sizes, or two near-duplicates are in different splits.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise DemoQuestionsError(f"the demo questions cannot be read from {path}: {exc}") from exc
    questions = [_question(line, number=number) for number, line in enumerate(lines, start=1) if line.strip()]
    _check_together(questions)
    return questions


def near_duplicates(questions: Sequence[DemoQuestion]) -> list[tuple[DemoQuestion, DemoQuestion]]:
    """The pairs of questions whose sets of words overlap by at least half (Jaccard)."""
    words = [set(re.findall(r"\w+", question.text.lower())) for question in questions]
    return [
        (questions[first], questions[second])
        for first, second in combinations(range(len(questions)), 2)
        if len(words[first] & words[second]) >= NEAR_DUPLICATE_OVERLAP * len(words[first] | words[second])
    ]


def _question(line: str, *, number: int) -> DemoQuestion:
    try:
        fields = json.loads(line)
        question = DemoQuestion(
            id=fields["id"],
            text=fields["text"],
            definition=fields["definition"],
            split=fields["split"],
            judgements=MappingProxyType(dict(fields["judgements"])),
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise DemoQuestionsError(f"line {number} of the demo questions is not a question: {exc!r}") from exc
    texts = (question.id, question.text, question.definition)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise DemoQuestionsError(f"line {number} of the demo questions has an empty id, text or definition")
    if question.split not in SPLIT_SIZES:
        raise DemoQuestionsError(f"{question.id} has the split {question.split!r}; known are {', '.join(SPLIT_SIZES)}")
    for name, grade in question.judgements.items():
        if type(grade) is not int or not 0 <= grade <= HIGHEST_GRADE:
            raise DemoQuestionsError(f"{question.id} grades {name} with {grade!r}; a grade is 0, 1, 2 or 3")
    if HIGHEST_GRADE not in question.judgements.values():
        raise DemoQuestionsError(f"{question.id} has no passage that answers it (grade {HIGHEST_GRADE})")
    return question


def _check_together(questions: Sequence[DemoQuestion]) -> None:
    twice = [key for key, count in Counter(question.id for question in questions).items() if count > 1]
    if twice:
        raise DemoQuestionsError(f"the demo questions use an id more than once: {', '.join(sorted(twice))}")
    sizes = Counter(question.split for question in questions)
    if sizes != Counter(SPLIT_SIZES):
        raise DemoQuestionsError(f"the demo questions are split {dict(sizes)}; expected {dict(SPLIT_SIZES)}")
    for first, second in near_duplicates(questions):
        if first.split != second.split:
            raise DemoQuestionsError(
                f"{first.id} ({first.split}) and {second.id} ({second.split}) ask nearly the same; "
                "put near-duplicates into one split"
            )
