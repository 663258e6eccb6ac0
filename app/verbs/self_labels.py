"""The retriever's own labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import bar, print_json, print_table, say
from app.verbs.shared import AsJson, Where, opened

if TYPE_CHECKING:
    from app.services.self_labelling import TierView


def self_label(
    where: Where = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Learn anew from the blind grades there are now; makes another judge.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Have the retriever propose what is clearly relevant or clearly not; a certificate decides what becomes a label.

    Example: relabel self-label
    """
    with opened(where) as workspace:
        from app.services import self_labelling

        with bar("Encoding passages") as indexing, bar("Proposals") as progress:
            report = self_labelling.self_label(workspace, refit=refit, on_index=indexing, on_progress=progress)
        tiers = self_labelling.get_tiers(workspace)
        if as_json:
            print_json({"proposed": report, "tiers": tiers})
            return
        learnt = "as learnt before" if report.reused else "learnt"
        agreement = ", with the model before beside it" if report.looks_at_model_before else ""
        say(
            f"Retriever {report.model}, {learnt} from {report.fitted_on:,} blind grades of {report.fitted_queries:,} "
            f"questions ({report.fitted_relevant:,} relevant){agreement}."
        )
        say(
            f"{report.proposed:,} proposals, {report.proposed_relevant:,} of them relevant; nothing is accepted before "
            f"a certificate: relabel certify plan --judge {report.judge_id}"
        )
        if report.failed:
            say(f"{report.failed:,} pairs have a passage that is not in the index; import or pool again.")
        say_tiers(tiers)


def say_tiers(tiers: TierView) -> None:
    """Who labelled the train candidates, as a table, and what is wrong with it."""
    print_table(
        ["retriever", "LLM, certified", "LLM, uncertified", "people", "nobody", "calls saved", "judgements spent"],
        [
            [
                f"{number:,}"
                for number in (
                    tiers.retriever,
                    tiers.llm_certified,
                    tiers.llm_uncertified,
                    tiers.people,
                    tiers.nobody,
                    tiers.calls_saved,
                    tiers.human_cost,
                )
            ]
        ],
        title="Train candidates by who labelled them",
    )
    for warning in tiers.warnings:
        say(warning)
