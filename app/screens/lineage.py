"""Lineage: from a model to its labels and their authors, and back; an owner takes somebody's labels out of use here."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.badges import facts_html, source_text
from app.components.lineage import (
    author_text,
    facts_of,
    how_text,
    sentences_text,
    show_author_uses,
    show_pair_uses,
    show_revoked_mark,
    show_settings,
    show_shares,
)
from app.components.pages import show_pages
from app.components.passage import show_passage, show_query
from app.components.problems import OURS, sentence, show_notice, told
from app.components.table import show_table
from app.components.text import counted, escaped, literal, shortened
from app.jobs import training
from app.services import lineage, revoking
from app.services.lineage_views import Author, AuthorChoice, AuthorKind, LabelSetView, LineagePage
from db.enums import LabelSource, RevocationAct

PAGE = 50
MODEL, AUTHOR, PAIR = "A model", "A judge or reviewer", "A pair"
_TABLE = "lineage.table"
_SEARCH = "lineage.search"
_SOURCE = "lineage.source"
_BY = "lineage.by"
_START = "lineage.start"
_QUERY, _PASSAGE = "lineage.query", "lineage.passage"


def draw() -> None:
    st.title("Lineage", anchor=False)
    show_notice("lineage")
    linked = state.get_linked_pair()
    start = st.segmented_control(
        "Start from",
        [MODEL, AUTHOR, PAIR],
        default=MODEL if linked is None else PAIR,
        required=True,
        key=_START,
        on_change=_start_over,
    )
    if start == AUTHOR:
        _author()
    elif start == PAIR:
        _pair(linked)
    else:
        _model()


def _start_over() -> None:
    state.set_lineage_offset(0)
    state.forget(_TABLE)


def _model() -> None:
    workspace = state.get_workspace()
    models = {model.id: model for model in lineage.list_models(workspace)}
    if not models:
        st.html(
            '<div class="rl-empty"><h2>No model yet</h2><p>The first one is there once passages were searched for '
            "every question:</p></div>"
        )
        st.code("relabel pool", language=None)
        return

    def named(model_id: int) -> str:
        model = models[model_id]
        labels = "no labels" if model.n_labels is None else counted(model.n_labels, "label")
        return f"{model.name} · {model.hash[:8]} · {model.stage.value} · {labels}"

    chosen = st.selectbox("Model", list(models), format_func=named, key="lineage.model", on_change=_start_over)
    view = lineage.get_model_lineage(workspace, model_id=chosen)
    show_revoked_mark(view.n_revoked)
    facts = [(name, escaped(value)) for name, value in facts_of(view)]
    half = (len(facts) + 1) // 2
    for column, some in zip(st.columns(2, gap="medium"), (facts[:half], facts[half:]), strict=True):
        if some:
            column.html(facts_html(some))
    show_settings(view)
    if view.label_set is None:
        st.caption("This model was not trained here, so no label set stands behind it. Pick another one above.")
        return
    show_shares(view.label_set)
    _labels(view.label_set)


def _labels(held: LabelSetView) -> None:
    st.header("Its labels", anchor=False)
    authors = {author_text(one.author): one.author for one in held.authors}
    sources = {source_text(one.source.value): one.source for one in held.sources}
    first, second, third = st.columns([2, 3, 3])
    source = first.selectbox("Source", ["All", *sources], key=_SOURCE, on_change=_start_over)
    by = second.selectbox("Author", ["All", *authors], key=_BY, on_change=_start_over)
    text = third.text_input(
        "Search", placeholder="In question and passage", key=_SEARCH, on_change=_start_over, max_chars=200
    )
    page = lineage.list_labels(
        state.get_workspace(),
        label_set_id=held.id,
        source=sources.get(source),
        author=authors.get(by),
        text=text,
        offset=state.get_lineage_offset(),
        limit=PAGE,
    )
    if not page.rows:
        st.caption("No label fits. Change the filters or the search text above.")
        return
    rows = state.selected_rows(_TABLE)
    if not rows or rows[0] >= len(page.rows):
        _table(page, narrow=False)
        st.caption("Select a row to read the pair and see where else its labels went.")
        return
    left, right = st.columns([5, 6], gap="medium")
    with left:
        _table(page, narrow=True)
    with right:
        _show_pair(page.rows[rows[0]].pair_id)


def _table(page: LineagePage, *, narrow: bool) -> None:
    rows = page.rows
    st.dataframe(
        {
            "Question": [row.query for row in rows],
            "Passage": [row.passage_title or row.passage_start for row in rows],
            "Grade": ["hidden" if row.grade is None else f"{row.grade:g}" for row in rows],
            "Weight": [row.weight for row in rows],
            "Source": ["" if row.source is None else _short(row.source) for row in rows],
            "Author": [row.author or "" for row in rows],
            "How": [how_text(row) for row in rows],
            "When": [row.at for row in rows],
        },
        key=_TABLE,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        height=430,
        column_order=("Question", "Passage", "Grade")
        if narrow
        else ("Question", "Passage", "Grade", "Weight", "Source", "Author", "How", "When"),
        column_config={
            "Question": st.column_config.TextColumn(width=165),
            "Passage": st.column_config.TextColumn(width=150),
            "Author": st.column_config.TextColumn(width=140),
            "Grade": st.column_config.TextColumn(width=60),
            "Weight": st.column_config.NumberColumn(format="%.2f", width=70),
            "When": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", width=130),
        },
    )
    show_pages(
        key="lineage",
        offset=page.offset,
        shown=len(rows),
        total=page.total,
        size=PAGE,
        noun="labels",
        turn=_turn_page,
    )


def _short(source: LabelSource) -> str:
    return {LabelSource.PROPOSED: "not accepted", LabelSource.HUMAN: "people"}.get(source, source.value)


def _turn_page(offset: int) -> None:
    state.set_lineage_offset(offset)
    state.forget(_TABLE)


def _pair(linked: int | None) -> None:
    left, right = st.columns(2)
    query = left.text_input("Question id", key=_QUERY, on_change=state.close_linked_pair, max_chars=400)
    passage = right.text_input("Passage id", key=_PASSAGE, on_change=state.close_linked_pair, max_chars=400)
    if linked is not None:
        _show_pair(linked)
    elif query and passage:
        _show_pair(lineage.find_pair(state.get_workspace(), query=query.strip(), passage=passage.strip()))
    else:
        st.caption("Name a question and a passage by their ids, or open a pair from a model's labels.")


def _show_pair(pair_id: int) -> None:
    view = lineage.get_pair_lineage(state.get_workspace(), pair_id=pair_id)
    show_query(view.query, None)
    show_passage(title=view.passage_title, text=view.passage_text, evidence=None)
    st.caption(literal(f"{view.query_id} and {view.passage_id}"))
    show_pair_uses(view)
    labels = state.SCREENS["labels"]
    if st.button(f"Open it on the {labels.title} screen", key="lineage.open", icon=labels.icon):
        st.switch_page(labels.path, query_params={"pair": str(pair_id)})


def _author() -> None:
    workspace = state.get_workspace()
    choices = lineage.list_authors(workspace)
    if not choices:
        st.html('<div class="rl-empty"><h2>Nobody has labelled yet</h2><p>Let a judge propose grades first.</p></div>')
        return
    at = st.selectbox(
        "Judge or reviewer",
        range(len(choices)),
        format_func=lambda number: _choice_text(choices[number]),
        key="lineage.author",
    )
    author = choices[at].author
    view = lineage.get_author_lineage(workspace, author=author)
    said = "proposal" if author.kind is AuthorKind.JUDGE else "grade"
    models = counted(len(view.models), "model")
    st.html(
        facts_html(
            [
                ("Said so far", escaped(counted(view.n_said, said))),
                ("Used in", escaped(f"{counted(len(view.uses), 'label set')} and {models}")),
                ("Standing", "revoked: nothing of it counts" if view.revoked else "counts"),
            ]
        )
    )
    if view.uses:
        show_author_uses(view)
    else:
        st.caption("No label set has a label of this author, so no model was trained on one.")
    if view.revoked:
        _restore(author)
    else:
        _revoke(author)
    _acts()


def _choice_text(choice: AuthorChoice) -> str:
    kind = "Judge" if choice.author.kind is AuthorKind.JUDGE else "Reviewer"
    return f"{kind}: {shortened(author_text(choice.author), 90)}{' (revoked)' if choice.revoked else ''}"


def _revoke(author: Author) -> None:
    with st.container(border=True):
        st.header(literal(f"Revoke {author.name}"), anchor=False)
        st.markdown(sentences_text(revoking.foresee(state.get_workspace(), author=author).sentences()))
        st.caption("Proposals and reviews are kept as they are; what counts is computed anew, and can be given back.")
        _form(author, RevocationAct.REVOKE)


def _restore(author: Author) -> None:
    with st.container(border=True):
        st.header(literal(f"Give {author.name} back"), anchor=False)
        st.markdown(
            "What was said counts as it did before, unless something newer has taken its place. Certificates that only "
            "revocations suspended are in force again if nothing they rest on has changed."
        )
        _form(author, RevocationAct.RESTORE)


def _form(author: Author, act: RevocationAct) -> None:
    if not revoking.may_revoke(state.get_workspace(), person=state.get_person()):
        st.info("Only an owner of the workspace may do this.", icon=":material/lock:")
        return
    mark = f"{author.kind}.{author.ids[0]}.{act}"
    gone = act is RevocationAct.REVOKE
    with st.form(f"lineage.form.{mark}", border=False):
        reason = st.text_input("Why (kept for good)", key=f"lineage.reason.{mark}", max_chars=revoking.MAX_REASON)
        retrain = st.checkbox("Then retrain on what counts", key=f"lineage.retrain.{mark}")
        sent = st.form_submit_button("Revoke" if gone else "Give back", key=f"lineage.submit.{mark}", type="primary")
    if not sent:
        return
    if not reason.strip():
        st.warning("Say why first; others will read it.")
        return
    do = revoking.revoke if gone else revoking.restore
    try:
        with st.spinner("Computing what counts"):
            report = do(state.get_workspace(), author=author, reason=reason, person=state.get_person())
        said = " ".join(report.sentences())
        if retrain:
            said += f" {_retrained(author)}"
        state.leave_notice("lineage", said)
    except OURS as exc:
        state.leave_notice("lineage", sentence(exc), "refused")
    st.rerun()


def _retrained(author: Author) -> str:
    """Asks for the training; what stands against it must not hide that the act itself is done."""
    try:
        run_id = training.start_after_revocation(state.get_workspace(), author=author, person=state.get_person())
    except OURS as exc:
        return f"Nothing is retrained: {sentence(exc)}"
    return f"Training run {run_id} is asked for; follow it on the Train screen."


def _acts() -> None:
    acts = revoking.list_acts(state.get_workspace())
    if acts:
        show_table(
            ["When", "What", "Whose labels", "By", "Why"],
            [
                [
                    f"{act.at:%Y-%m-%d %H:%M}",
                    "revoked" if act.act is RevocationAct.REVOKE else "given back",
                    act.author,
                    act.by,
                    act.reason,
                ]
                for act in acts
            ],
            caption="Revoked and given back",
        )


with told():
    draw()
