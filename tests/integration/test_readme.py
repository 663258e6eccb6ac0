"""The README is true: its commands run in their order, its other commands are understood, its links lead somewhere."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

from app.cli import cli
from app.demo.questions import load_questions
from db.enums import Split

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))
_BLOCK = re.compile(r"^```sh(?P<marks>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

NOT_RUN = {
    "make demo": "installs, and opens a server",
    "make test": "is what runs this test",
    "make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu": "installs",
    "relabel serve": "stays running; tests/browser has it",
    "export OPENAI_API_KEY=…": "needs an LLM; test_cli.py has one",
    "export RELABEL_LLM_MODEL=gpt-4o-mini": "needs an LLM",
    "relabel label": "needs an LLM",
    "ollama pull qwen2.5:7b": "needs Ollama",
    "OPENAI_BASE_URL=http://127.0.0.1:11434/v1 RELABEL_LLM_MODEL=qwen2.5:7b relabel label": "needs Ollama",
    "OPENAI_BASE_URL=http://127.0.0.1:8000/v1 RELABEL_LLM_MODEL=Qwen/Qwen2.5-7B-Instruct relabel label": "needs vLLM",
    'pip install -c constraints.txt -e ".[postgres]"': "installs",
    "export DATABASE_URL=postgresql://user:password@host/relabel": "needs a server; tests/integration/db has one",
    "relabel status": "needs a server",
}
"""The commands of blocks marked `not-run`, and why each is left out here."""


@dataclass(frozen=True)
class Command:
    """One line of a block: what it sets, and its words."""

    text: str
    settings: dict[str, str]
    words: list[str]
    run: bool


def _commands(document: Path) -> list[Command]:
    found = []
    for block in _BLOCK.finditer(document.read_text(encoding="utf-8")):
        for line in block["text"].splitlines():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            settings = {}
            exported = words[0] == "export"
            while words and (exported or re.fullmatch(r"[A-Z_]+=.*", words[0])):
                word = words.pop(0)
                if word != "export":
                    name, _, value = word.partition("=")
                    settings[name] = value
            text = re.sub(r"\s+#.*$", "", line).strip()
            found.append(Command(text, settings, words, run="not-run" not in block["marks"].split()))
    return found


def _write_inputs(folder: Path) -> None:
    """What the walkthrough speaks of: a handbook, questions, and a few judgements."""
    (folder / "handbook" / "accounts").mkdir(parents=True)
    (folder / "handbook" / "accounts" / "passwords.md").write_text(
        "# Passwords\n\n## Reset\n\nTo reset a password, open the login page and choose *Forgotten*.\n\n"
        "## Length\n\nA password has at least twelve characters.\n",
        encoding="utf-8",
    )
    (folder / "handbook" / "printers.html").write_text(
        "<title>Printers</title><h1>Printers</h1><p>If paper jams, open the rear door and pull it out.</p>"
    )
    (folder / "handbook" / "holidays.txt").write_text("Ask your team lead for a holiday four weeks before.\n")
    (folder / "questions.txt").write_text(
        "how do I reset my password\nthe printer is jammed\nhow do I take a day off\n"
    )
    judged = folder / "judged"
    (judged / "qrels").mkdir(parents=True)
    topics = {
        "vpn": ("how do I connect from home", "Start the VPN client before you open the intranet."),
        "badge": ("I lost my badge", "Report a lost badge at the front desk; it is blocked at once."),
        "screen": ("my second screen stays black", "A black screen mostly has a loose cable."),
        "invoice": ("where do I send an invoice", "Invoices go to the accounting inbox as PDF."),
    }
    for name, key in (("corpus", 1), ("queries", 0)):
        rows = [{"_id": topic, "text": texts[key]} for topic, texts in topics.items()]
        (judged / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    head = "query-id\tcorpus-id\tscore\n"
    (judged / "qrels" / "train.tsv").write_text(head + "vpn\tvpn\t3\nvpn\tbadge\t0\nbadge\tbadge\t3\nbadge\tvpn\t0\n")
    (judged / "qrels" / "test.tsv").write_text(head + "screen\tscreen\t3\ninvoice\tinvoice\t3\n")


def test_the_walkthrough_runs_as_the_readme_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a newcomer's first ten minutes from ending at a command that fails."""
    _write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    ran = []
    for command in _commands(README):
        if not command.run:
            continue
        for name, value in command.settings.items():
            monkeypatch.setenv(name, value)
        if command.words:
            assert command.words[0] == "relabel", f"mark the block as not-run: {command.text}"
            result = CliRunner().invoke(cli, command.words[1:])
            assert result.exit_code == 0, f"{command.text}\n{result.output}"
            ran.append(command.words[1])
    assert ran[:6] == ["init", "import", "import", "pool", "label", "status"]
    assert {"train", "evaluate", "promote", "search", "rollback", "export"} <= set(ran)
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()
    assert (tmp_path / "out" / "beir" / "labels.jsonl").is_file()


def _understood(group: typer.core.TyperGroup, command: Command) -> bool:
    verb, *rest = command.words[1:] or [""]
    if verb not in group.commands:
        return False
    try:
        group.commands[verb].make_context(verb, rest)
    except click.UsageError:
        return False
    return True


def test_every_command_that_is_not_run_is_listed_here_with_a_reason() -> None:
    """Prevents the marker from hiding a command that could have been tried."""
    assert [command.text for command in _commands(README) if not command.run] == list(NOT_RUN)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relabel_command_of_the_documents_is_understood(document: Path) -> None:
    """Prevents a page from naming a verb or option that is gone."""
    group = typer.main.get_command(cli)
    assert isinstance(group, typer.core.TyperGroup)
    assert [c.text for c in _commands(document) if c.words[:1] == ["relabel"] and not _understood(group, c)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_of_the_documents_exists(document: Path) -> None:
    """Prevents a newcomer's first command from answering "no rule to make target"."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {c.words[1] for c in _commands(document) if c.words[:1] == ["make"]}
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_and_picture_leads_to_a_file(document: Path) -> None:
    """Prevents a page of broken pictures."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (document.parent / link).exists()] == []


def test_the_numbers_of_the_demo_are_those_in_the_readme() -> None:
    """Prevents the README from describing another demo than the one that runs."""
    questions = load_questions()
    counts = {split: sum(question.split == split for question in questions) for split in Split}
    text = " ".join(README.read_text(encoding="utf-8").split())
    assert f"{len(questions)} questions as a programmer" in text
    assert (
        f"{counts[Split.TRAIN]} to train, {counts[Split.CALIBRATE]} to calibrate, {counts[Split.HELD_OUT]} held" in text
    )
