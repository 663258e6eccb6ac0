"""The verbs about judges on a small workspace: definitions, the effective prompt, examples, probing, other judges."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.bootstrap import open_workspace
from app.cli import cli
from builders import TOPICS, add_candidates, add_corpus, pair_ids
from servers.scripted_llm import Behaviour, Request, ScriptedLLM, good, graded_list, says, selected

TRAIN = TOPICS[:2]
ESCAPE = "\x1b]0;owned\x07"


def relabel(*words: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], input=stdin)


def done(*words: str | Path, stdin: str | None = None) -> Any:
    """What a command that must succeed prints as JSON."""
    result = relabel(*words, "--json", stdin=stdin)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    return json.loads(line)


def refused(code: int, *words: str | Path) -> str:
    """What a command says that must fail with this code, without a traceback."""
    result = relabel(*words)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stderr


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A workspace of two train questions with six candidates each."""
    folder = tmp_path / "workspace"
    assert relabel("init", folder).exit_code == 0
    workspace = open_workspace(folder)
    add_corpus(workspace, topics=TRAIN)
    add_candidates(workspace, topics=TRAIN)
    workspace.close()
    return folder


def answer(request: Request) -> Behaviour:
    """Serves every kind of judge."""
    name = request.body.get("response_format", {}).get("json_schema", {}).get("name", "")
    if name == "definition_of_relevance":
        return says(json.dumps({"meaning": f"Causes. {ESCAPE}", "counts": ["causes"], "does_not_count": []}))
    if name == "grades_of_passages":
        return graded_list(request, lambda text: 3 if text.startswith("A ") else 0)
    if name in ("relsel", "utilsel"):
        return selected(request, lambda text: len(text) % 2 == 0, confidence=0.8 if name == "utilsel" else None)
    if name == "pseudo_answer":
        return says(json.dumps({"answer": "Because."}))
    return good(grade=2)


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ScriptedLLM]]:
    """Starts a server of one's own and points the environment to it."""
    running: list[ScriptedLLM] = []

    def start(script: Callable[[Request], Behaviour] = answer, **options: Any) -> ScriptedLLM:
        server = ScriptedLLM(script, **options).__enter__()
        running.append(server)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("RELABEL_LLM_MODEL", "scripted")
        return server

    yield start
    for server in running:
        server.__exit__(None, None, None)


def test_definitions_are_written_shown_and_edited_from_the_command_line(
    mine: Path, llm: Callable[..., ScriptedLLM], tmp_path: Path
) -> None:
    """Prevents guidelines that only somebody at the browser can see or change."""
    server = llm()
    assert done("definitions", "-w", mine) == {"lacking": 2, "stale": 0}
    result = relabel("definitions", "-w", mine, "--write")
    assert result.exit_code == 0, result.output
    assert server.base_url.split("/")[2] in result.stderr
    assert "2 definitions written" in result.stderr
    shown = relabel("definitions", "-w", mine, "--show", "q-bread")
    assert "Version 1, scripted/definition" in shown.stdout
    assert "Would count:" in shown.stdout
    assert "\x1b" not in shown.stdout
    file = tmp_path / "guideline.txt"
    file.write_text("Only causes count.", encoding="utf-8")
    report = done("definitions", "-w", mine, "--set", "q-bread", file, "--person", "Ada")
    assert (report["changed"], [v["author"] for v in report["definitions"]["versions"]][-1]) == (True, "Ada")
    report = done("definitions", "-w", mine, "--set", "q-bread", "-", stdin="Only remedies count.")
    assert report["definitions"]["versions"][-1]["text"] == "Only remedies count."
    assert len(server.requests) == 2


def test_writing_definitions_is_planned_before_any_call(mine: Path, llm: Callable[..., ScriptedLLM]) -> None:
    """Prevents a bill that nobody saw coming, and a host named as receiver of nothing."""
    server = llm()
    plan = done("definitions", "-w", mine, "--write", "--plan")
    assert (plan["model"], plan["n_items"], plan["n_calls"], plan["n_stored"]) == ("scripted", 2, 2, 0)
    assert plan["host"] == server.base_url.split("/")[2]
    assert TRAIN[0].question in plan["prompt"][-1]["content"]
    texts = sum(len(m["content"].encode()) for m in plan["prompt"])
    assert 2 * texts / 4 < plan["tokens"] < plan["worst_tokens"]
    assert (plan["cost_usd"], plan["worst_cost_usd"]) == (None, None)
    told = relabel("definitions", "-w", mine, "--write", "--plan", "--cap-tokens", "5000")
    assert told.exit_code == 0, told.output
    assert "2 queries without a definition: 2 calls" in told.stderr
    assert f"at worst {plan['worst_tokens']:,}" in told.stderr
    assert "Cap: 5,000 tokens." in told.stderr
    assert "nothing was sent" in told.stderr
    assert server.requests == []
    assert relabel("definitions", "-w", mine, "--write").exit_code == 0
    assert len(server.requests) == 2
    again = relabel("definitions", "-w", mine, "--write")
    assert again.exit_code == 0, again.output
    assert "nothing is sent" in again.stderr
    assert plan["host"] not in again.stderr
    plan = done("definitions", "-w", mine, "--write", "--plan")
    assert (plan["host"], plan["n_calls"], plan["tokens"], plan["worst_tokens"]) == (None, 0, 0, 0)
    assert len(server.requests) == 2


def test_without_candidates_no_host_is_named_and_nothing_is_sent(
    tmp_path: Path, llm: Callable[..., ScriptedLLM]
) -> None:
    """Prevents an empty workspace from announcing that its queries are sent somewhere."""
    server = llm()
    assert relabel("init", tmp_path / "empty").exit_code == 0
    for more in ((), ("--plan",)):
        said = refused(4, "definitions", "-w", tmp_path / "empty", "--write", *more)
        assert "No query has candidates" in said
        assert server.base_url.split("/")[2] not in said
    assert server.requests == []


def test_a_plan_of_nothing_is_refused(mine: Path) -> None:
    """Prevents --plan from being dropped in silence."""
    assert "--write" in refused(2, "definitions", "-w", mine, "--plan")
    assert "--measure" in refused(2, "examples", "-w", mine, "--plan")


def test_definitions_refuse_what_means_nothing(mine: Path, tmp_path: Path) -> None:
    """Prevents tracebacks for typing errors, and texts sent to nobody."""
    assert "q-none" in refused(1, "definitions", "-w", mine, "--show", "q-none")
    assert "choose one" in refused(2, "definitions", "-w", mine, "--show", "q-bread", "--write")
    assert "cannot be read" in refused(2, "definitions", "-w", mine, "--set", "q-bread", tmp_path / "missing.txt")
    assert "OPENAI" in refused(2, "definitions", "-w", mine, "--write")


def test_the_prompt_of_a_pair_is_printed_to_the_letter_and_harmless(
    mine: Path, llm: Callable[..., ScriptedLLM]
) -> None:
    """Prevents a lead from having to believe what a judge was told, and a passage from steering the terminal."""
    server = llm()
    assert relabel("label", "-w", mine).exit_code == 0
    workspace = open_workspace(mine)
    pair = pair_ids(workspace)["q-bread", "bread-answer"]
    workspace.close()
    shown = relabel("prompt", "-w", mine, str(pair))
    assert shown.exit_code == 0, shown.output
    assert "to the letter what was sent" in shown.stdout
    assert TOPICS[0].answer in shown.stdout
    sent = next(
        r for r in server.requests if TOPICS[0].answer in r.user_message and TOPICS[0].question in r.user_message
    )
    view = done("prompt", "-w", mine, str(pair))
    assert view["steps"][0]["messages"][1]["content"] == sent.user_message
    assert view["steps"][0]["verified"] is True
    assert "does not exist" in refused(1, "prompt", "-w", mine, "999", "--suggestion")
    assert refused(2, "prompt", "-w", mine, str(pair), "--criterion", "beauty")


@pytest.mark.parametrize(
    ("spec", "requests"),
    [({"kind": "listwise"}, 2), ({"kind": "utility"}, 6), ({"kind": "pointwise", "prompt": "pointwise_criteria"}, 12)],
)
def test_other_judges_are_asked_for_by_their_description(
    mine: Path, llm: Callable[..., ScriptedLLM], spec: dict[str, Any], requests: int
) -> None:
    """Prevents judges that exist and that nobody can use."""
    server = llm()
    report = done("label", "-w", mine, "--spec", json.dumps(spec))
    assert (report["labelled"]["proposed"], report["labelled"]["failed"]) == (12, 0)
    assert report["positives"]["queries"] == 2
    assert len(server.requests) == requests


def test_examples_say_what_is_missing_before_they_can_be_measured(mine: Path, llm: Callable[..., ScriptedLLM]) -> None:
    """Prevents a judge from being shown examples that nobody ever measured."""
    assert "never measured" in refused(4, "examples", "-w", mine)
    server = llm()
    assert "blind" in refused(4, "examples", "-w", mine, "--measure")
    spec = json.dumps({"kind": "pointwise", "examples": True})
    assert "measured better" in refused(2, "label", "-w", mine, "--spec", spec)
    assert server.requests == []


def test_doctor_probes_when_asked_and_remembers(mine: Path, llm: Callable[..., ScriptedLLM]) -> None:
    """Prevents a probe on every look, and a look that never probes."""
    server = llm(refuses=["logprobs"])
    checks = {c["name"]: c for c in json.loads(relabel("doctor", "-w", mine, "--json").stdout)}
    assert checks["LLM can"]["detail"] == "not probed"
    assert server.requests == []
    result = relabel("doctor", "-w", mine, "--probe", "--json")
    checks = {c["name"]: c for c in json.loads(result.stdout)}
    assert "log-probabilities no" in checks["LLM can"]["detail"]
    assert server.base_url.split("/")[2] in result.stderr
    asked = len(server.requests)
    checks = {c["name"]: c for c in json.loads(relabel("doctor", "-w", mine, "--json").stdout)}
    assert "log-probabilities no" in checks["LLM can"]["detail"]
    assert len(server.requests) == asked
