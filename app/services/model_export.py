"""Taking a model out: a plain sentence-transformers folder with a card that says what it was made of and scored."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from app.bootstrap import Workspace
from app.errors import Conflict, InputInvalid, NothingToDo
from app.services.indexing import encoder_model, model_path
from app.services.models import model_view
from app.services.views import EvaluationView, ExportReport, MeasureView, ModelView
from db.queries import registry

MARK = "relabel.json"

USE_FULL = 'Load it with `SentenceTransformer("this folder")`.'
USE_ROUTED = (
    'Load it with `SentenceTransformer("this folder")`; encode questions with `encode_query` and passages with '
    "`encode_document`. Only questions go through the adapter: vectors of passages are those of the encoder it was "
    "trained on, so an index made with that encoder stays as it is."
)
USE_BESIDE = (
    'The encoder is a plain model: load it with `SentenceTransformer("this folder")` and encode passages with it. '
    "Vectors of questions, of length 1, must also go through the adapter in `adapter/`: "
    '`retriever.adapter.QueryAdapter.load(Path("this folder/adapter")).apply(vectors)`, from the package `relabel`.'
)


def find_model(workspace: Workspace, which: str = "live") -> int:
    """The id of a model: "live", "candidate" (the newest), or a content hash's first digits.

    Raises:
        NothingToDo: no model is live, or there is no candidate, yet.
        InputInvalid: no model, or more than one, fits the hash.
    """
    with workspace.sessions.read() as session:
        if which == "live":
            model = registry.get_live(session)
            if model is None:
                raise NothingToDo("no model is live yet", user_message="Pool candidates first: relabel pool")
        elif which == "candidate":
            model = registry.latest_candidate(session)
            if model is None:
                raise NothingToDo("there is no candidate yet", user_message="Train one first: relabel train")
        else:
            model = registry.get_model_by_hash(session, which)
        if model is None:
            raise InputInvalid(
                f"no one model is meant by {which!r}; give live, candidate or the hash that status shows"
            )
        return model.id


def export_model(workspace: Workspace, *, model_id: int, target: Path, overwrite: bool = False) -> ExportReport:
    """Writes the model to `target`, whole or not at all.

    An adapter goes with its encoder: as one model where sentence-transformers can say it, else as the encoder with the
    adapter's files beside it; the card says which.

    Raises:
        Conflict: the target is there and `overwrite` is not set, or it is not an earlier export.
    """
    if target.exists() and not (overwrite and (target / MARK).is_file()):
        raise Conflict(f"{target} is there already; choose another place, or --overwrite an earlier export")
    with workspace.sessions.read() as session:
        row = registry.get_model_or_raise(session, model_id)
        view = model_view(session, row)
        source = model_path(workspace, row)
        encoder = model_path(workspace, encoder_model(session, row))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=target.parent) as scratch:
        staging = Path(scratch) / "model"
        if encoder == source:
            shutil.copytree(source, staging)
            use = USE_FULL
        else:
            from retriever.adapted_model import save_adapted_model

            use = USE_ROUTED if save_adapted_model(encoder, source, staging) else USE_BESIDE
            if use is USE_BESIDE:
                shutil.copytree(encoder, staging)
            shutil.copytree(source, staging / "adapter")
        (staging / "README.md").write_text(_card(view, use), encoding="utf-8")
        (staging / MARK).write_text(
            json.dumps({"hash": view.hash, "name": view.name, "base": view.base, "label_set": view.label_set}) + "\n",
            encoding="utf-8",
        )
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
    files = sorted(file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file())
    return ExportReport(path=str(target), n_rows=len(files), files=tuple(files))


def _card(model: ModelView, use: str) -> str:
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "---",
        "",
        f"# {model.name}",
        "",
        f"A dense retriever exported from Relabel. {use}",
        "",
        f"- Content hash: `{model.hash}`",
        f"- Stage when exported: {model.stage}",
        f"- Trained from: {model.base or 'nothing; this is a base model as it came'}",
    ]
    if model.label_set is not None:
        lines.append(f"- Label set: `{model.label_set}`, {model.n_labels} labels")
    lines += ["", "## Measured", "", *_measured(model.evaluation), ""]
    return "\n".join(lines)


def _measured(evaluation: EvaluationView | None) -> list[str]:
    if evaluation is None:
        return ["Never measured on held-out questions."]
    head = (
        f"On {evaluation.n_queries} {evaluation.split} questions with {evaluation.n_judgements} human judgements"
        + (f", beside {evaluation.baseline}" if evaluation.baseline else "")
        + ":"
    )
    before = {measure.name: measure.value for measure in evaluation.baseline_measures}
    rows = ["| measure | this model | before | difference, 95 % interval |", "|---|---|---|---|"]
    differences = {d.measure: d for d in evaluation.differences if d.slice == "all"}
    for measure in evaluation.measures:
        difference = differences.get(measure.name)
        was = f"{before[measure.name]:.4f}" if measure.name in before else "–"
        change = (
            "–" if difference is None else f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
        )
        rows.append(f"| {_name(measure, evaluation.n_queries)} | {measure.value:.4f} | {was} | {change} |")
    return [head, "", *rows]


def _name(measure: MeasureView, n_queries: int) -> str:
    return measure.name if measure.n_queries == n_queries else f"{measure.name} (n = {measure.n_queries})"
