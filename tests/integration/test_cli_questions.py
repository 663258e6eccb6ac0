"""`relabel questions`: what it says before anything is sent, and what it prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import cli
from servers.scripted_llm import Behaviour, Request, ScriptedLLM, says

METALS = ("copper", "silver", "nickel", "cobalt")


def relabel(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def writes(request: Request) -> Behaviour:
    metal = re.search(r"(\w+) melts when", request.user_message)
    name = metal[1] if metal else "it"
    entry = {"question": f"at which heat does {name} melt", "evidence": "melts when it is hot enough"}
    return says(json.dumps({"questions": [entry]}))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    assert relabel("init", folder).exit_code == 0
    text = "{} melts when it is hot enough, which every founder knows from long and patient practice at the furnace."
    lines = [json.dumps({"_id": metal, "title": "", "text": text.format(metal)}) for metal in METALS]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join(lines), encoding="utf-8")
    assert relabel("import", corpus, "-w", folder).exit_code == 0
    return folder


def test_a_plan_shows_host_price_and_prompt_and_sends_nothing(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disaster: texts that left the house before anybody was told where to."""
    with ScriptedLLM(writes) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        shown = relabel("questions", "--n", "2", "--plan", "-w", mine)
        plan = json.loads(relabel("questions", "--n", "2", "--plan", "--json", "-w", mine).stdout)
        assert server.requests == []
    assert shown.exit_code == 0
    assert "sent to 127.0.0.1" in shown.stderr
    assert "BEGIN passage" in shown.stderr
    assert "nothing was sent" in shown.stderr
    assert plan["worst_tokens"] > 0
    assert plan["worst_usd"] is None


def test_questions_are_written_and_reported_as_json(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disaster: a job whose outcome a script cannot read."""
    with ScriptedLLM(writes) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        result = relabel("questions", "--n", "4", "--per-passage", "1", "--json", "-w", mine)
    assert result.exit_code == 0, result.output
    [line] = result.stdout.splitlines()
    told = json.loads(line)
    assert told["report"]["written"] == 4
    assert told["coverage"]["passages"] == {"total": 4, "with_question": 4, "share": 1.0}
    assert "sent to 127.0.0.1" in result.stderr


def test_without_an_llm_or_with_a_cap_too_low_one_sentence_says_so(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disaster: a traceback, or a cap that is passed over."""
    refused = relabel("questions", "-w", mine)
    assert refused.exit_code == 2
    assert "OPENAI_BASE_URL" in refused.stderr
    with ScriptedLLM(writes) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        capped = relabel("questions", "--n", "4", "--cap-tokens", "10", "-w", mine)
        assert server.requests == []
    assert capped.exit_code != 0
    assert "cap of 10 tokens" in capped.stderr
    assert "Traceback" not in capped.output
