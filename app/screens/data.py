"""Data: what is in the workspace, import by upload, export by download."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import streamlit as st

from app import state
from app.components.badges import sources_text
from app.components.problems import OURS, sentence, show_notice, told
from app.components.questions import show_question_coverage
from app.components.table import show_table
from app.components.text import counted, literal
from app.components.uploads import write_uploads
from app.services import data, importing, prepared_exports, question_coverage
from app.services.prepared_exports import PreparedExport
from app.services.views import DataView, ImportReport, LineProblem
from db.enums import Split

Layout = Literal["labels", "history", "beir", "trec", "triplets", "lists"]
FileFormat = Literal["jsonl", "parquet"]

LAYOUTS: Mapping[Layout, str] = MappingProxyType(
    {
        "labels": "Labels, with everything about each",
        "history": "History: everything that happened to each pair",
        "beir": "BEIR directory",
        "trec": "TREC qrels",
        "triplets": "Training triplets",
        "lists": "Graded lists",
    }
)
FORMATS: Mapping[FileFormat, str] = MappingProxyType({"jsonl": "JSON Lines", "parquet": "Parquet"})
DIRECTORIES: tuple[Layout, ...] = ("beir", "trec")
SPLITS = tuple(split.value for split in Split)
SHOWN_PROBLEMS = 50
LISTED_PROBLEMS = 200


def draw() -> None:
    st.title("Data", anchor=False)
    show_notice("data")
    view = data.get_data(state.get_workspace())
    _counts(view)
    left, right = st.columns([3, 2], gap="large")
    with left:
        _import()
    with right:
        _export(empty=not view.n_passages)
    _sources(view)
    coverage = question_coverage.get_coverage(state.get_workspace())
    if coverage is not None:
        show_question_coverage(coverage)


def _counts(view: DataView) -> None:
    columns = st.columns(4)
    columns[0].metric("Passages", f"{view.n_passages:,}")
    for column, split in zip(columns[1:], SPLITS, strict=True):
        column.metric(f"{split.capitalize()} questions", f"{view.n_queries.get(split, 0):,}")
    judged = sources_text(view.n_judgements, n_uncertified=view.n_uncertified)
    others = ", ".join(f"{number:,} {name}" for name, number in view.n_queries.items() if name not in SPLITS and number)
    st.caption(
        f"Labels: {literal(judged) or 'none yet'}." + (f" Questions of no split: {literal(others)}." if others else "")
    )


def _import() -> None:
    st.header("Import", anchor=False)
    files = st.file_uploader(
        "Passages, questions, judgements, runs or suggestions",
        accept_multiple_files=True,
        key=f"data.upload.{state.get_upload_round()}",
        help="JSON Lines, CSV, TSV, Parquet, TREC qrels and runs, Markdown, text or HTML. Files that belong together, "
        "such as a BEIR directory, go in at once. Importing the same file again changes nothing.",
    )
    split = st.selectbox(
        "New questions are for",
        [None, *Split],
        format_func=lambda value: "what the file says, else decided later" if value is None else value.value,
        key="data.split",
        help="A question's split is set once. Judgements of held-out questions measure models and never train one.",
    )
    if st.button("Import", key="data.import", type="primary", disabled=not files) and files:
        state.keep_import_report(None)
        with tempfile.TemporaryDirectory(prefix="relabel-import-") as folder, st.spinner("Importing"):
            try:
                path = write_uploads(files, Path(folder))
                source = ", ".join(sorted(file.name for file in files))[:500]
                report = importing.import_path(state.get_workspace(), path, layout="auto", source=source, split=split)
            except OURS as exc:
                state.leave_notice("data", sentence(exc), "refused")
            else:
                state.keep_import_report(report)
                state.next_upload_round()
        st.rerun()
    last = state.get_import_report()
    if last is not None:
        _report(last)


def _report(report: ImportReport) -> None:
    kinds = (
        (report.passages, "passage", "passages"),
        (report.queries, "question", "questions"),
        (report.judgements, "judgement", "judgements"),
        (report.suggestions, "suggestion", "suggestions"),
        (report.candidates, "candidate", "candidates"),
    )
    new = ", ".join(counted(number, one, many) for number, one, many in kinds if number) or "nothing new"
    unchanged = f"; {report.unchanged:,} were there already" if report.unchanged else ""
    message = literal(f"{report.source}: {new}{unchanged}.")
    if report.n_problems:
        st.warning(f"{message} {counted(report.n_problems, 'line')} could not be read.", icon=":material/rule:")
        _problems(report.problems[:SHOWN_PROBLEMS])
        if report.n_problems > SHOWN_PROBLEMS:
            st.caption(
                f"The first {SHOWN_PROBLEMS} of {report.n_problems:,}. Mend the lines and import the file again."
            )
    else:
        st.success(message, icon=":material/check:")
    for note in report.notes:
        st.caption(literal(note))


def _problems(problems: Sequence[LineProblem]) -> None:
    show_table(
        ["File", "Line", "Why it was left out"],
        [[problem.file, f"{problem.line:,}", problem.reason] for problem in problems],
        align=["left", "right", "left"],
    )


def _export(*, empty: bool) -> None:
    st.header("Export", anchor=False)
    layout = st.selectbox("Layout", list(LAYOUTS), format_func=lambda name: LAYOUTS[name], key="data.layout")
    file_format: FileFormat = "jsonl"
    if layout not in DIRECTORIES:
        file_format = st.radio(
            "Format", list(FORMATS), format_func=lambda name: FORMATS[name], horizontal=True, key="data.format"
        )
    if st.button("Prepare the export", key="data.export", disabled=empty):
        with st.spinner("Exporting"), told():
            _prepare(layout, file_format)
    prepared = state.get_export()
    if prepared is not None and prepared.path.is_file():
        _hand_out(prepared)
    st.caption("Every label names its source, judge and decision. For millions of rows use the command line:")
    st.code(f"relabel export {layout} ./export", language=None)


def _prepare(layout: Layout, file_format: FileFormat) -> None:
    workspace, before = state.get_workspace(), state.get_export()
    state.keep_export(None)
    if before is not None:
        prepared_exports.drop_export(workspace, before)
    state.keep_export(
        prepared_exports.prepare_export(
            workspace, layout=layout, file_format=file_format, criterion=state.get_criterion()
        )
    )


def _hand_out(prepared: PreparedExport) -> None:
    rows = counted(prepared.n_rows, "row")
    if prepared.for_browser:
        st.download_button(
            f"Download {literal(prepared.file_name)} ({rows})",
            prepared.path.read_bytes,  # read when it is asked for
            file_name=prepared.file_name,
            key="data.download",
            type="primary",
            on_click="ignore",
            icon=":material/download:",
        )
        return
    st.success(
        f"Written: {rows}, {prepared.n_bytes / 1024**2:,.0f} MB. It is too large to go through the browser. It lies "
        "here, on the machine that serves this page, for a day:",
        icon=":material/check:",
    )
    st.code(str(prepared.path), language=None, wrap_lines=True)


def _sources(view: DataView) -> None:
    st.header("Where it came from", anchor=False)
    if not view.sources:
        st.write("Nothing was imported yet.")
        return
    show_table(
        ["Source", "Layout", "Passages", "Questions", "Judgements", "Suggestions", "Lines left out", "Imported"],
        [
            [
                source.name,
                source.layout,
                f"{source.n_passages:,}",
                f"{source.n_queries:,}",
                f"{source.n_judgements:,}",
                f"{source.n_suggestions:,}",
                f"{source.n_rejected_lines:,}",
                source.created_at.strftime("%Y-%m-%d %H:%M"),
            ]
            for source in view.sources
        ],
        align=["left", "left", "right", "right", "right", "right", "right", "left"],
    )
    for source in view.sources:
        if source.n_rejected_lines:
            title = f"{counted(source.n_rejected_lines, 'line')} left out of {literal(source.name)}"
            with st.expander(title, key=f"data.left_out.{source.name}", on_change="rerun") as left_out:
                if left_out.open:
                    _problems(data.list_left_out(state.get_workspace(), source=source.name, limit=LISTED_PROBLEMS))
                    if source.n_rejected_lines > LISTED_PROBLEMS:
                        st.caption(f"The first {LISTED_PROBLEMS} of {source.n_rejected_lines:,}.")


with told():
    draw()
