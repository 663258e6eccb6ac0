"""Pieces of the Lineage screen: tables of sources, authors and uses; the mark of a model trained on revoked labels."""

from __future__ import annotations

import streamlit as st

from app.components.badges import source_text
from app.components.table import show_table
from app.components.text import counted, literal
from app.services.lineage_views import (
    Author,
    AuthorKind,
    AuthorLineage,
    LabelSetView,
    LineageLabel,
    ModelLineage,
    ModelUse,
    PairLineage,
)
from db.enums import ModelKind


def show_revoked_mark(n_labels: int) -> None:
    """A warning beside a model that was trained on labels whose author is revoked now; nothing where none is."""
    if n_labels:
        verb = "was" if n_labels == 1 else "were"
        st.warning(
            f"Trained on {counted(n_labels, 'label')} that {verb} revoked since. Retrain to be rid of them.",
            icon=":material/person_off:",
        )


def author_text(author: Author) -> str:
    """An author in words: a person by name, a judge with the beginning of its prompt's version."""
    if author.kind is AuthorKind.PERSON:
        return author.name
    return f"{author.name} · prompt {', '.join(sorted({version[:8] for version in author.versions}))}"


def percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 or not share else "< 0.1%"


def facts_of(model: ModelLineage) -> list[tuple[str, str]]:
    """Name and value of what made a model; the values are plain text."""
    kind = "an adapter" if model.kind is ModelKind.ADAPTER else "a full model"
    facts = [("Stage", f"{model.stage.value}, {kind}, since {model.created_at:%Y-%m-%d %H:%M}")]
    for link in model.chain:
        labels = f", itself trained on {counted(link.n_labels, 'label')}" if link.n_labels else ", as it came"
        facts.append((link.role.capitalize(), f"{link.name} ({link.hash[:12]}){labels}"))
    if model.run is not None:
        who = model.run.person or "nobody named"
        when = f", ended {model.run.finished_at:%Y-%m-%d %H:%M}" if model.run.finished_at else ""
        facts.append(("Training run", f"{model.run.id}, asked for by {who}{when}"))
    if model.label_set is not None:
        held = model.label_set
        facts.append(
            (
                "Label set",
                f"{held.hash}: {counted(held.n_labels, 'label')} on {counted(held.n_queries, 'question')}, "
                f"about {held.criterion.value}, frozen {held.created_at:%Y-%m-%d %H:%M}",
            )
        )
    return facts


def show_settings(model: ModelLineage) -> None:
    """The run's settings, nested ones flattened, behind a fold."""
    if model.run is None:
        return
    rows: list[list[str]] = []
    for name, value in model.run.settings.items():
        if isinstance(value, dict):
            rows += [[f"{name}.{inner}", str(of_inner)] for inner, of_inner in value.items()]
        else:
            rows.append([name, str(value)])
    with st.expander("Settings of the run"):
        show_table(["Setting", "Value"], rows)


def show_shares(held: LabelSetView) -> None:
    """Who the labels of a set come from: by source, and by author."""
    left, right = st.columns([2, 3], gap="medium")
    with left:
        show_table(
            ["Source", "Labels", "Of the weight"],
            [[source_text(one.source.value), f"{one.n_labels:,}", percent(one.share)] for one in held.sources],
            align=["left", "right", "right"],
            caption="By source",
        )
    with right:
        show_table(
            ["Author", "Labels", "Of the weight", "How"],
            [
                [
                    author_text(one.author) + (" (revoked)" if one.revoked else ""),
                    f"{one.n_labels:,}",
                    percent(one.share),
                    f"{one.n_certified:,} certified"
                    if one.author.kind is AuthorKind.JUDGE
                    else f"{one.n_blind:,} blind",
                ]
                for one in held.authors
            ],
            align=["left", "right", "right", "left"],
            caption="By author",
        )


def how_text(label: LineageLabel) -> str:
    """How a label was given: blind or after the proposal was shown, certified or not."""
    if label.concealed:
        return "judged blind"
    if label.blind is not None:
        return "blind" if label.blind else "proposal shown"
    return "uncertified" if label.certificate_id is None else f"certificate {label.certificate_id}"


def models_text(models: tuple[ModelUse, ...]) -> str:
    """Models by name, the live one said so, adapters with the encoder through which they have the labels."""
    parts = []
    for model in models:
        through = f", through its encoder {model.through}" if model.through else ""
        parts.append(f"{model.name} ({'LIVE' if model.is_live else model.stage.value}{through})")
    return "; ".join(parts) or "none yet"


def show_author_uses(view: AuthorLineage) -> None:
    """Every label set that used an author's labels, and the models trained on it."""
    show_table(
        ["Label set", "Frozen", "Labels", "Of all", "Of the weight", "Models trained on it"],
        [
            [
                use.label_set,
                f"{use.created_at:%Y-%m-%d %H:%M}",
                f"{use.n_labels:,}",
                f"{use.n_all:,}",
                percent(use.share),
                models_text(use.models),
            ]
            for use in view.uses
        ],
        align=["left", "left", "right", "right", "right", "left"],
        caption="Where the labels went",
    )


def show_pair_uses(view: PairLineage) -> None:
    """Every label set that holds a label of a pair."""
    if view.concealed:
        st.info("People judge this pair blind now, so nothing is said of its labels; only where they went is shown.")
    if not view.uses:
        st.caption("No label set has a label of this pair, so no model was trained on one.")
        return
    show_table(
        ["Label set", "Grade", "From", "Models trained on it"],
        [
            [
                use.label_set[:8],
                "hidden" if use.label.grade is None else f"{use.label.grade:g} (weight {use.label.weight:.2f})",
                ", ".join(filter(None, [use.label.author, how_text(use.label)])),
                models_text(use.models),
            ]
            for use in view.uses
        ],
        caption="Where its labels went",
    )


def sentences_text(sentences: tuple[str, ...]) -> str:
    """Sentences as a list in Streamlit's Markdown, with nothing in them read as markup."""
    return "\n".join(f"- {literal(sentence)}" for sentence in sentences)
