"""The double that everyone else tests with."""

from __future__ import annotations

import pytest

from annotator.errors import JudgeUnavailable
from annotator.judges.base import Judge, collect
from annotator.judges.scripted import ScriptedJudge
from annotator.types import JudgeFailure, JudgeRequest, Proposal, SuggestionStatus


def requests(count: int) -> list[JudgeRequest]:
    return [JudgeRequest(pair_id=n, query="q", definition=None, title="", passage="p") for n in range(count)]


def test_it_says_what_the_script_says() -> None:
    """Disaster: a double that passes tests which the real judge would fail."""
    lost = JudgeFailure(2, "gone", retryable=False)
    judge = ScriptedJudge({0: 3, 1: None, 2: lost})
    first, second, third, fourth = collect(judge, requests(4))
    assert isinstance(judge, Judge)
    assert isinstance(first, Proposal)
    assert (first.grade, first.confidence) == (3, 0.95)
    assert isinstance(second, Proposal)
    assert second.status is SuggestionStatus.UNREADABLE
    assert third == lost
    assert isinstance(fourth, JudgeFailure)
    assert [asked.pair_id for asked in judge.asked] == [0, 1, 2, 3]


def test_it_answers_in_the_order_of_its_delays() -> None:
    """Disaster: code that relies on the order of the requests and is never found out."""
    judge = ScriptedJudge(lambda request: request.pair_id % 4, delays={0: 0.02, 1: 0.01})
    assert [result.pair_id for result in collect(judge, requests(3))] == [2, 1, 0]


def test_it_raises_what_the_script_holds() -> None:
    """Disaster: the path where the judge is unavailable, never run by a test."""
    with pytest.raises(JudgeUnavailable) as caught:
        collect(ScriptedJudge({0: JudgeUnavailable("401", user_message="Check the key.")}), requests(1))
    assert caught.value.user_message == "Check the key."
