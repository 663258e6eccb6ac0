"""Prompts: validated when read, the same for the same request, and deaf to what the texts say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.errors import PromptInvalid
from annotator.prompts import loader
from annotator.prompts.loader import load_prompt, read_prompt
from annotator.types import Criterion, JudgeRequest, Scale

SHIPPED = Path(loader.__file__).parent / "pointwise_relevance.yaml"


def asked(**texts: str | None) -> JudgeRequest:
    given_texts = {"query": "q", "definition": None, "title": "", "passage": "p", **texts}
    return JudgeRequest(pair_id=1, **given_texts)  # type: ignore[arg-type]


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "changed.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_the_shipped_prompt_shows_rubric_definition_and_passage() -> None:
    """Disaster: a judge that grades without ever seeing what counts as relevant."""
    prompt = load_prompt()
    assert prompt.criterion is Criterion.RELEVANCE
    request = asked(query="why?", definition="Causes count.", title="Flying", passage="Low flight.")
    system, user = prompt.render(request, Scale())
    assert (system.role, user.role) == ("system", "user")
    assert "3 = answers: The passage answers the query fully" in system.content
    assert "Grades of 2 and above count as relevant" in system.content
    assert "never an\ninstruction" in system.content
    for text in ("why?", "Causes count.", "Flying", "Low flight."):
        assert text in user.content
    assert "{{" not in system.content + user.content


def test_a_request_without_definition_and_title_shows_no_empty_blocks() -> None:
    """Disaster: 'What counts as relevant:' followed by nothing, which judges take for 'nothing counts'."""
    user = load_prompt().render(asked(), Scale())[1].content
    assert "definition" not in user
    assert "title" not in user


def test_the_same_request_renders_alike_and_another_one_has_another_fence() -> None:
    """Disaster: a cache that never hits, or a fence that a passage's author can learn."""
    prompt = load_prompt()
    assert prompt.render(asked(), Scale()) == prompt.render(asked(), Scale())
    fences = {prompt.render(asked(passage=f"p{n}"), Scale())[1].content.split()[2] for n in range(20)}
    assert len(fences) == 20


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_text_breaks_the_template_or_its_fence(query: str, definition: str, passage: str) -> None:
    """Disaster: braces in a passage that raise, or a passage that leaves its fence."""
    user = load_prompt().render(asked(query=query, definition=definition, passage=passage), Scale())[1].content
    fence = user.split()[2]
    assert user.startswith(f"BEGIN query {fence}\n")
    assert user.count(f"BEGIN passage {fence}\n") == user.count(f"END passage {fence}\n") == 1
    user.encode("utf-8")


def test_placeholders_in_texts_stay_as_they_are() -> None:
    """Disaster: a passage that has the rubric or another text pasted into itself."""
    user = load_prompt().render(asked(passage="{{query}} {{fence}} {x} %s"), Scale())[1].content
    assert "{{query}} {{fence}} {x} %s" in user


def test_texts_over_their_limit_are_cut_and_said_to_be() -> None:
    """Disaster: a passage cut in silence and graded as if it ended there."""
    prompt = load_prompt()
    user = prompt.render(asked(passage="y" * 50_000, query="z" * 5_000), Scale())[1].content
    assert "The passage was too long: its first 12000 of 50000 characters follow." in user
    assert "The query was too long: its first 4000 of 5000 characters follow." in user
    assert user.count("y" * 12_000) == 1
    assert "y" * 12_001 not in user


def test_other_scales_get_their_own_rubric_and_schema() -> None:
    """Disaster: a judge asked for 0 to 3 on a binary scale."""
    prompt, scale = load_prompt(), Scale(max_grade=1, relevant_from=1, labels=("no", "yes"))
    assert "0 = no\n1 = yes" in prompt.render(asked(), scale)[0].content
    assert prompt.schema_for(scale)["properties"]["grade"]["enum"] == [0, 1]  # type: ignore[index]


def test_the_version_is_a_hash_of_the_content(tmp_path: Path) -> None:
    """Disaster: an edited prompt whose suggestions pass for those of the old one."""
    original = load_prompt()
    assert read_prompt(SHIPPED).version == original.version
    for old, new in (
        ("a careful reader who knows", "a hasty reader who knows"),
        ("passage: 12000", "passage: 11000"),
        ("The passage has nothing", "This passage has nothing"),
        ("required: [grade, confidence, evidence, reason]", "required: [grade]"),
    ):
        assert read_prompt(changed(tmp_path, old, new)).version != original.version


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("criterion: relevance", "criterion: beauty"),
        ("name: pointwise", "name: Point Wise"),
        ("{{rubric}}", "{{rubrik}}"),
        ("{{rubric}}", "the usual grades"),
        ("BEGIN passage {{fence}}\n  {{passage}}", "BEGIN passage {{fence}}"),
        ("passage: 12000", "passage: 0"),
        ("cut_note:", "cutnote:"),
        (
            "    grade:\n      type: integer\n    confidence:\n      type: number\n",
            "    confidence:\n      type: number\n",
        ),
        ("system: |", "system: ["),
    ],
)
def test_a_broken_prompt_file_is_refused_by_name(tmp_path: Path, old: str, new: str) -> None:
    """Disaster: a prompt with a hole in it, sent a hundred thousand times."""
    with pytest.raises(PromptInvalid, match=r"changed\.yaml"):
        read_prompt(changed(tmp_path, old, new))


@pytest.mark.parametrize("name", ["nothing", "../secrets", "pointwise_relevance.yaml", ""])
def test_an_unknown_prompt_is_refused_and_the_known_ones_named(name: str) -> None:
    """Disaster: a name from a settings file that opens some other file."""
    with pytest.raises(PromptInvalid, match="pointwise_relevance"):
        load_prompt(name)
