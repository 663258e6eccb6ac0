"""The command line on real, tiny workspaces: what it prints, how it exits, and that nothing is paid for twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
import typer
from click.testing import Result
from filelock import FileLock
from typer.testing import CliRunner

from app.bootstrap import open_workspace
from app.cli import cli
from app.errors import Conflict, InputInvalid, InputPartlyInvalid, NotAllowed, NothingToDo, WorkspaceMissing
from app.terminal import reported
from servers.scripted_llm import Behaviour, Request, ScriptedLLM, good, malformed, unauthorized

ROOT = Path(__file__).parents[2]
TOPICS = {
    "bread": ("why is my bread flat", "A loaf stays flat when the starter is too young.", "Bread is old."),
    "chain": ("why does the chain slip", "A chain that slips is worn; replace it.", "Chains are made of steel."),
    "leaf": ("why do leaves turn yellow", "Leaves turn yellow without nitrogen.", "Trees have many leaves."),
    "cat": ("why does a cat scratch", "A cat scratches to shed old claws.", "Cats sleep a lot."),
    "tea": ("how long should tea steep", "Let black tea steep for four minutes.", "Tea grows on hills."),
    "knot": ("how to tie a bowline", "Make a loop, pass the end through and around.", "Ropes are made of hemp."),
}
TRAIN, HELD_OUT = ("bread", "chain", "leaf", "cat"), ("tea", "knot")


def relabel(*words: str | Path) -> Result:
    """One command, in this process."""
    return CliRunner().invoke(cli, [str(word) for word in words])


def done(*words: str | Path) -> Any:
    """What a command that must succeed prints as JSON."""
    result = relabel(*words, "--json")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 1, result.stdout
    return json.loads(lines[0])


def refused(code: int, *words: str | Path) -> str:
    """What a command says that must fail with this code: to standard error, and never a traceback."""
    result = relabel(*words)
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert "Error: " in result.stderr
    return result.stderr


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _corpus(folder: Path) -> Path:
    """A BEIR directory of six topics: the answer graded 3, the passage that is only related graded 0."""
    passages = [
        {"_id": f"{name}-{kind}", "title": "", "text": text}
        for name, (_, *texts) in TOPICS.items()
        for kind, text in zip(("answer", "other"), texts, strict=True)
    ]
    _write(folder / "corpus.jsonl", passages)
    _write(folder / "queries.jsonl", [{"_id": name, "text": topic[0]} for name, topic in TOPICS.items()])
    (folder / "qrels").mkdir()
    for stem, names in (("train", TRAIN), ("test", HELD_OUT)):
        lines = [f"{name}\t{name}-answer\t3\n{name}\t{name}-other\t0\n" for name in names]
        text = "query-id\tcorpus-id\tscore\n" + "".join(lines)
        (folder / "qrels" / f"{stem}.tsv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a live model and candidates for every question, which no test changes."""
    folder = tmp_path_factory.mktemp("cli")
    data = _corpus(folder / "data")
    for part in ("corpus.jsonl", "queries.jsonl"):
        done("import", data / part, "-w", _made(folder / "made"), "--split", "train")
    report = done("pool", "-w", folder / "made", "--depth", "5")
    assert report["n_queries"] == 6
    assert report["new"] == 30
    return folder / "made"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with people's judgements and a model trained on them, which no test changes."""
    folder = tmp_path_factory.mktemp("cli-trained")
    made = _made(folder / "made")
    report = done("import", _corpus(folder / "data"), "-w", made)
    assert (report["passages"], report["queries"], report["judgements"]) == (12, 6, 12)
    assert done("pool", "-w", made)["n_queries"] == 4  # held-out questions that people judged are not put up again
    run = done("train", "-w", made, "--person", "Ana", "--speed", "full", "--epochs", "1", "--seed", "7")
    assert (run["status"], run["n_labels"], run["settings"]["training"]["seed"]) == ("done", 8, 7)
    assert run["evaluation"]["n_queries"] == 2
    return made


@pytest.fixture
def mine(pooled: Path, tmp_path: Path) -> Path:
    """A copy of the pooled workspace, to be changed."""
    return Path(shutil.copytree(pooled, tmp_path / "mine"))


@pytest.fixture
def mine_trained(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained workspace, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "mine"))


def _made(path: Path) -> Path:
    if not path.exists():
        assert relabel("init", path).exit_code == 0
    return path


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return _made(tmp_path / "empty")


class TestExitCodes:
    def test_a_directory_that_is_no_workspace_exits_2_and_says_how_to_make_one(self, tmp_path: Path) -> None:
        """Prevents a script from going on in the wrong directory."""
        assert f"relabel init {tmp_path}" in refused(WorkspaceMissing.exit_code, "status", "-w", tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_second_init_exits_6_and_changes_nothing(self, empty: Path) -> None:
        """Prevents a workspace's settings from being overwritten."""
        before = (empty / "relabel.toml").read_text(encoding="utf-8")
        assert "already" in refused(Conflict.exit_code, "init", empty, "--name", "Other")
        assert (empty / "relabel.toml").read_text(encoding="utf-8") == before

    def test_what_cannot_be_imported_exits_2(self, empty: Path, tmp_path: Path) -> None:
        """Prevents a misspelt path or option from looking like an empty file."""
        code = InputInvalid.exit_code
        assert "does not exist" in refused(code, "import", tmp_path / "nowhere", "-w", empty)
        assert "beta" in refused(code, "import", tmp_path, "-w", empty, "--split", "beta")
        assert "--scale" in refused(code, "import", tmp_path, "-w", empty, "--scale", "0:1")
        assert "no layout 'odd'" in refused(code, "import", tmp_path, "-w", empty, "--layout", "odd")

    @pytest.mark.parametrize(
        ("words", "advice"),
        [
            (["pool"], "relabel import"),
            (["train"], "relabel pool"),
            (["search", "anything"], "relabel import"),
            (["evaluate"], "relabel pool"),
            (["promote"], "relabel train"),
            (["rollback"], "relabel import"),
            (["export", "model", "out"], "relabel pool"),
        ],
    )
    def test_a_step_too_early_exits_4_and_names_the_one_before(
        self, words: list[str], advice: str, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prevents a newcomer from standing before an error with nowhere to go."""
        monkeypatch.chdir(tmp_path)
        assert advice in refused(NothingToDo.exit_code, *words, "-w", empty)

    def test_an_unknown_loss_or_judge_exits_2_and_names_the_choices(self, mine_trained: Path) -> None:
        """Prevents a run that fails minutes later, or a label from another judge than the one meant."""
        assert "local" in refused(2, "label", "-w", mine_trained, "--judge", "gpt")
        assert "sum_marginal" in refused(2, "train", "-w", mine_trained, "--loss", "odd")

    def test_a_defect_exits_70_in_one_sentence(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Prevents a traceback from reaching a user, and a defect from passing for wrong input."""
        with pytest.raises((typer.Exit, click.exceptions.Exit)) as caught, reported():
            raise ZeroDivisionError("division by zero")
        assert caught.value.exit_code == 70
        assert "RELABEL_DEBUG" in capsys.readouterr().err

    def test_what_the_system_refuses_is_told_with_the_place(self, tmp_path: Path) -> None:
        """Prevents a folder that may not be written from being reported as a defect of ours."""
        (tmp_path / "file").touch()
        assert "Not a directory" in refused(1, "init", tmp_path / "file" / "below")

    @pytest.mark.parametrize("url", ["nonsense", "nonsense://x", "postgresql://127.0.0.1:1/none"])
    def test_a_database_that_cannot_be_used_is_told_without_a_traceback(
        self, url: str, empty: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prevents a typing error in DATABASE_URL from looking like a defect."""
        monkeypatch.setenv("DATABASE_URL", url)
        assert "DATABASE_URL" in refused(1, "status", "-w", empty)

    def test_a_damaged_database_is_named(self, empty: Path) -> None:
        """Prevents a search for the broken file."""
        (empty / "relabel.sqlite").write_bytes(b"no database " * 100)
        assert "relabel.sqlite is damaged" in refused(1, "status", "-w", empty)

    def test_a_second_worker_exits_6(self, empty: Path) -> None:
        """Prevents two workers of one directory from deleting each other's half-made models."""
        with FileLock(empty / "worker.lock"):
            assert "already running" in refused(Conflict.exit_code, "worker", "-w", empty)

    def test_a_process_of_its_own_keeps_the_streams_apart_and_shows_no_traceback(self, tmp_path: Path) -> None:
        """Prevents what holds in the tests' process only."""
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", "status", "--json", "-w", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("Error: ")
        assert "Traceback" not in done.stderr


class TestImport:
    def test_bad_lines_exit_3_and_are_listed_while_the_good_ones_are_in(self, empty: Path, tmp_path: Path) -> None:
        """Prevents a file with one bad line from being lost, or from passing for whole."""
        file = tmp_path / "queries.jsonl"
        file.write_text('{"_id": "a", "text": "one"}\n{"_id": "b"\n{"text": "three"}\n', encoding="utf-8")
        result = relabel("import", file, "-w", empty, "--json")
        assert result.exit_code == InputPartlyInvalid.exit_code
        assert "queries.jsonl:2: invalid JSON" in result.stderr
        assert "queries.jsonl:3: the query id is missing" in result.stderr
        report = json.loads(result.stdout)
        assert (report["queries"], report["n_problems"]) == (1, 2)
        assert [problem["line"] for problem in report["problems"]] == [2, 3]

    def test_a_repeated_import_changes_nothing_and_exits_0(self, empty: Path, tmp_path: Path) -> None:
        """Prevents duplicates from a script that runs every night."""
        data = _corpus(tmp_path / "data")
        first, second = done("import", data, "-w", empty), done("import", data, "-w", empty)
        assert (first["passages"], first["judgements"], first["unchanged"]) == (12, 12, 0)
        assert (second["passages"], second["queries"], second["judgements"], second["unchanged"]) == (0, 0, 0, 30)

    def test_splits_and_a_scale_are_taken_from_the_options(self, empty: Path, tmp_path: Path) -> None:
        """Prevents held-out questions from training, and binary judgements from meaning grade 1."""
        data = _corpus(tmp_path / "data")
        options = ["--splits", "train=calibrate,test=held-out", "--scale", "0=0,3=2", "--judgements-as", "Ana"]
        notes = done("import", data, "-w", empty, *options)["notes"]
        assert any("3 → 2" in note for note in notes)
        assert done("status", "-w", empty)["overview"]["n_queries"] == {"calibrate": 4, "held-out": 2}


class TestSettings:
    def test_a_setting_of_the_environment_goes_before_the_file(
        self, mine: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prevents a container from using what somebody left in relabel.toml."""
        with (mine / "relabel.toml").open("a", encoding="utf-8") as file:
            file.write("accept_irrelevant = 1.0\naccept_relevant = 1.0\n")
        monkeypatch.setenv("RELABEL_ACCEPT_IRRELEVANT", "0.0")
        monkeypatch.setenv("RELABEL_ACCEPT_RELEVANT", "0.0")
        routed = done("label", "-w", mine)["routed"]
        assert (routed["accepted"], routed["rejected"]) == (30, 0)

    def test_a_wrong_setting_is_named(self, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Prevents a search for the value that is meant."""
        monkeypatch.setenv("RELABEL_POOL_DEPTH", "none")
        assert "pool_depth" in refused(2, "status", "-w", empty)

    def test_the_workspace_named_by_the_environment_is_used(
        self, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prevents a command from working on another workspace than the one meant."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("RELABEL_WORKSPACE", "empty")
        assert done("status")["overview"]["workspace"] == "Relabel"


class TestLocalJudge:
    def test_it_says_that_it_is_no_llm_and_that_nothing_leaves_the_machine(self, mine: Path) -> None:
        """Prevents its labels from being taken for an LLM's."""
        result = relabel("label", "-w", mine)
        assert result.exit_code == 0
        assert "no LLM, uncertified; no text leaves this machine" in result.stderr
        assert "30 proposals" in result.stderr

    def test_labelling_again_proposes_nothing_new(self, mine: Path) -> None:
        """Prevents two suggestions where one was asked for."""
        assert done("label", "-w", mine)["labelled"]["proposed"] == 30
        assert done("label", "-w", mine)["labelled"]["proposed"] == 0
        funnel = done("status", "-w", mine)["overview"]["funnel"]
        assert (funnel["candidates"], funnel["proposed"]) == (30, 30)


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ScriptedLLM]]:
    """Starts a server of one's own and points the environment to it."""
    running: list[ScriptedLLM] = []

    def start(answer: Callable[[Request], Behaviour], **options: Any) -> ScriptedLLM:
        server = ScriptedLLM(answer, **options).__enter__()
        running.append(server)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("RELABEL_LLM_MODEL", "scripted")
        return server

    yield start
    for server in running:
        server.__exit__(None, None, None)


def _careful(request: Request) -> Behaviour:
    """3 where the passage is the question's answer, else 0."""
    text = request.user_message
    answers = any(question in text and answer in text for question, answer, _ in TOPICS.values())
    return good(grade=3 if answers else 0)


class TestLlmJudge:
    def test_its_proposals_are_stored_counted_and_never_asked_for_twice(
        self, mine: Path, llm: Callable[..., ScriptedLLM], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prevents a rerun from costing what the first run cost."""
        monkeypatch.setenv("RELABEL_LLM_PRICE_IN_PER_MILLION_USD", "1.0")
        monkeypatch.setenv("RELABEL_LLM_PRICE_OUT_PER_MILLION_USD", "2.0")
        server = llm(_careful)
        result = relabel("label", "-w", mine, "--json")
        assert result.exit_code == 0, result.output
        assert f"sent to {server.base_url.split('/')[2]}" in result.stderr
        labelled = json.loads(result.stdout)["labelled"]
        assert (labelled["proposed"], labelled["unreadable"], labelled["failed"]) == (30, 0, 0)
        assert len(server.requests) == 30
        assert labelled["cost_usd"] == pytest.approx(30 * (120 * 1.0 + 30 * 2.0) / 1e6)
        assert done("label", "-w", mine)["labelled"]["proposed"] == 0
        assert len(server.requests) == 30
        assert done("status", "-w", mine)["overview"]["judges"] == [labelled["judge"]]

    def test_what_was_paid_for_before_a_failure_is_not_paid_for_again(
        self, mine: Path, llm: Callable[..., ScriptedLLM], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prevents an expired key from costing the hours before it."""
        monkeypatch.setenv("RELABEL_LLM_CONCURRENCY", "1")
        valid = [True] * 10
        server = llm(lambda request: _careful(request) if valid and valid.pop() else unauthorized())
        assert "key" in refused(1, "label", "-w", mine).lower()
        paid = {request.user_message.split("BEGIN")[-1] for request in server.requests}
        valid[:] = [True] * 100
        asked = len(server.requests)
        labelled = done("label", "-w", mine)["labelled"]
        funnel = done("status", "-w", mine)["overview"]["funnel"]
        assert funnel["proposed"] == 30
        assert len(server.requests) - asked == 20
        assert len(paid) == asked
        assert labelled["failed"] == 0

    def test_its_proposals_alone_can_train_whether_accepted_or_not(
        self, mine: Path, llm: Callable[..., ScriptedLLM]
    ) -> None:
        """Prevents judges from being compared by what a threshold let through."""
        llm(_careful)
        judge = done("label", "-w", mine)["labelled"]["judge"]
        assert done("train", "-w", mine, "--labels-from", judge, "--queue")["n_labels"] == 30

    def test_unreadable_replies_are_counted_and_never_grade_0(
        self, mine: Path, llm: Callable[..., ScriptedLLM]
    ) -> None:
        """Prevents a broken model from labelling everything irrelevant."""
        llm(lambda request: malformed())
        report = done("label", "-w", mine)
        assert report["labelled"]["unreadable"] == 30
        assert report["routed"] == {"accepted": 0, "rejected": 30, "waiting": 30}

    def test_an_llm_asked_for_without_a_key_or_endpoint_exits_2(self, mine: Path) -> None:
        """Prevents the local judge from answering in an LLM's name."""
        assert "OPENAI_API_KEY" in refused(2, "label", "-w", mine, "--judge", "llm")

    def test_the_local_judge_can_be_insisted_on(self, mine: Path, llm: Callable[..., ScriptedLLM]) -> None:
        """Prevents texts from leaving the machine of somebody who said local."""
        server = llm(_careful)
        assert done("label", "-w", mine, "--judge", "local")["labelled"]["proposed"] == 30
        assert server.requests == []


class TestDoctor:
    def test_a_workspace_in_order_exits_0_and_every_check_is_readable(self, mine: Path) -> None:
        """Prevents a doctor that finds something wrong with a healthy machine."""
        checks = {check["name"]: check for check in done("doctor", "-w", mine)}
        assert {"python", "packages", "database", "base model", "disk", "worker", "LLM"} <= set(checks)
        assert checks["LLM"]["ok"] is None

    def test_counts_that_went_wrong_are_found_and_counted_anew(self, mine: Path) -> None:
        """Prevents an Overview that is wrong for ever after somebody wrote to the database by hand."""
        done("label", "-w", mine, "--judge", "local")
        workspace = open_workspace(mine)
        with workspace.sessions.begin() as session:
            session.execute(sa.text("UPDATE pair_count SET n = n + 5 WHERE n = (SELECT max(n) FROM pair_count)"))
        workspace.close()
        result = relabel("doctor", "-w", mine)
        assert result.exit_code == 1
        assert "kept counts differ" in " ".join(result.stdout.split())
        checks = {check["name"]: check["ok"] for check in done("doctor", "-w", mine, "--recount")}
        assert checks["counts"] is True

    def test_an_endpoint_that_does_not_answer_is_named(self, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Prevents a night of labelling that fails at its first request."""
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        result = relabel("doctor", "-w", mine)
        assert result.exit_code == 1
        assert "not in order: LLM" in result.stderr
        assert "OPENAI_BASE_URL" in result.stdout

    def test_a_model_that_the_endpoint_lists_is_in_order(self, mine: Path, llm: Callable[..., ScriptedLLM]) -> None:
        """Prevents a wrong alarm about a local server."""
        llm(_careful)
        checks = {check["name"]: check for check in done("doctor", "-w", mine)}
        assert checks["LLM"]["ok"] is True


class TestTheLoop:
    def test_a_candidate_goes_live_by_a_reason_only_and_back_again(self, mine_trained: Path) -> None:
        """Prevents a model that proved nothing on two questions from serving, and one that serves from staying."""
        status = done("status", "-w", mine_trained)
        base, candidate = status["overview"]["live"]["hash"], status["run"]["model"]["hash"]
        assert base != candidate
        said = refused(NotAllowed.exit_code, "promote", "-w", mine_trained)
        assert "gate did not pass" in said
        result = relabel("promote", candidate[:12], "-w", mine_trained, "--reason", "to try it")
        assert result.exit_code == 0, result.output
        assert done("status", "-w", mine_trained)["overview"]["live"]["hash"] == candidate
        refused(NothingToDo.exit_code, "promote", candidate[:12], "-w", mine_trained)
        assert relabel("rollback", "-w", mine_trained, "--reason", "enough").exit_code == 0
        assert done("status", "-w", mine_trained)["overview"]["live"]["hash"] == base

    def test_evaluate_and_search_print_json(self, mine_trained: Path) -> None:
        """Prevents a program that reads them from meeting progress bars or tables."""
        alone = done("evaluate", "-w", mine_trained)
        assert (alone["n_queries"], alone["n_judgements"], alone["baseline"]) == (2, 4, None)
        beside = done("evaluate", "-w", mine_trained, "--model", "candidate")
        assert {measure["name"] for measure in beside["measures"]} >= {"nDCG@10", "Recall@100", "RR@10"}
        assert beside["look"] == 2
        found = done("search", "how long should tea steep", "-w", mine_trained, "-k", "2")
        assert found["live"][0]["passage_id"] == "tea-answer"
        assert len(found["candidate"]) == 2

    def test_a_queued_run_is_shown_again_and_not_doubled(self, mine_trained: Path) -> None:
        """Prevents two trainings from two clicks, or one that nobody can see."""
        first, second = (done("train", "-w", mine_trained, "--queue") for _ in range(2))
        assert (first["status"], second["id"]) == ("queued", first["id"])
        assert "going on already" in refused(Conflict.exit_code, "train", "-w", mine_trained)

    def test_an_exported_model_loads_in_sentence_transformers_and_tells_its_origin(
        self, trained: Path, tmp_path: Path
    ) -> None:
        """Prevents a model that only Relabel can read, or of which nobody knows what made it."""
        from sentence_transformers import SentenceTransformer

        report = done("export", "model", tmp_path / "model", "-w", trained, "--model", "candidate")
        assert "README.md" in report["files"]
        model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
        assert model.encode(["how long should tea steep"]).shape == (1, 384)
        card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
        status = done("status", "-w", trained)
        assert card.startswith("---\nlibrary_name: sentence-transformers\n")
        assert status["run"]["model"]["hash"] in card
        assert status["run"]["label_set"] in card
        assert "On 2 held-out questions with 4 human judgements" in card

    def test_an_export_is_not_overwritten_unasked(self, trained: Path, tmp_path: Path) -> None:
        """Prevents the loss of a file that somebody worked on."""
        target = tmp_path / "labels.jsonl"
        assert done("export", "labels", target, "-w", trained)["n_rows"] == 12
        refused(Conflict.exit_code, "export", "labels", target, "-w", trained)
        assert done("export", "labels", target, "-w", trained, "--overwrite")["n_rows"] == 12
        refused(InputInvalid.exit_code, "export", "odd", tmp_path / "odd", "-w", trained)
        rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
        assert {(row["source"], row["person"]) for row in rows} == {("human", "import:data")}

    def test_status_names_the_next_step_in_words(self, trained: Path, empty: Path) -> None:
        """Prevents a person from asking what to do now, or from missing a candidate because no judge was asked."""
        assert "[relabel import PATH]" in relabel("status", "-w", empty).stdout
        text = relabel("status", "-w", trained).stdout
        assert "12 passages; questions: 2 held-out, 4 train" in text
        assert "[relabel label]" in text
        assert "waits for your decision" in text


def test_no_secret_is_printed(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a key or password from getting into a terminal's log."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    for words in (["status"], ["doctor"], ["label"]):
        result = relabel(*words, "-w", empty)
        assert "very-secret" not in result.output
    monkeypatch.setenv("DATABASE_URL", "postgresql://ana:very-secret@127.0.0.1:1/none")
    assert "very-secret" not in relabel("status", "-w", empty).output
    assert os.environ["OPENAI_API_KEY"]  # the test really set one
