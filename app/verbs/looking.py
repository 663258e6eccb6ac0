"""Looking: search, status, doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from app.terminal import print_json, print_table, say, tell
from app.verbs.shared import AsJson, Where, WhichCriterion, criterion_of, opened


def search(
    question: Annotated[str, typer.Argument(help="What to search for.")],
    where: Where = None,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many passages.")] = 10,
    retriever: Annotated[
        str, typer.Option(help="dense: by meaning; hybrid: by meaning and words, see relabel hybrid.")
    ] = "dense",
    about: WhichCriterion = "relevance",
    as_json: AsJson = False,
) -> None:
    """Search with the live model and, beside it, the newest candidate.

    Example: relabel search "merge two sorted streams lazily" -k 5 --retriever hybrid
    """
    with opened(where) as workspace:
        from app.services.search import search as search_both

        result = search_both(workspace, question=question, k=k, retriever=retriever, criterion=criterion_of(about))
        if as_json:
            print_json(result)
            return
        for model, hits in ((result.live_model, result.live), (result.candidate_model, result.candidate)):
            if model is not None:
                rows = [[str(hit.rank), f"{hit.score:.3f}", hit.passage_id, hit.title] for hit in hits]
                scored = "score" if result.mixed else "cosine"
                print_table(["rank", scored, "passage", "title"], rows, title=model)
        if result.mixed:
            tell(f"Live model: {result.mixed}.")


def hybrid(where: Where = None, about: WhichCriterion = "relevance", as_json: AsJson = False) -> None:
    """Fit how searching by meaning and by words is mixed, on what people judged.

    Fitted on calibrate questions, and on train questions that the live model was not trained on: on those it was, it
    looks better than it is. Each figure is of a mix fitted on other questions; held-out questions are not touched.

    Searches with --retriever hybrid use it from then on.

    Example: relabel hybrid --criterion relevance
    """
    with opened(where) as workspace:
        from app.services.hybrid import fit

        view = fit(workspace, criterion=criterion_of(about))
        if as_json:
            print_json(view)
            return
        words = {"dense": "meaning", "bm25": "words (BM25)", "rrf": "ranks fused", "linear": "linear mix, cross-fitted"}
        print_table(
            ["search by", "nDCG@10"],
            [[words[name], f"{view.figures[name]:.4f}"] for name in words if name in view.figures],
            title=f"{view.model}: {view.n_queries:,} questions not trained on, {view.n_judgements:,} human judgements",
        )
        if view.dense_weight is not None and view.bm25_weight is not None:
            tell(f"Hybrid searches now use {view.dense_weight:.2f} meaning + {view.bm25_weight:.2f} words.")
        elif "linear" in view.figures:
            tell("The mix is not better than fusing ranks on questions it was not fitted on: ranks are fused.")
        else:
            tell(
                f"Ranks are fused: a mix needs {view.fewest_queries} judged questions that the model was not trained "
                f"on, so far {view.n_queries}."
            )


def status(where: Where = None, about: WhichCriterion = "relevance", as_json: AsJson = False) -> None:
    """Show where the workspace stands: the funnel, the live model, the latest run, what to do next.

    Example: relabel status --json
    """
    with opened(where) as workspace:
        from app.services import overview, runs

        view = overview.get_overview(workspace, criterion=criterion_of(about))
        run = runs.get_latest_run(workspace)
        if as_json:
            print_json({"overview": view, "run": run, "worker_alive": runs.is_worker_alive(workspace)})
            return
        f = view.funnel
        questions = ", ".join(f"{count:,} {split}" for split, count in sorted(view.n_queries.items())) or "none"
        tell(f"{view.workspace}: {view.n_passages:,} passages; questions: {questions}")
        tell("Pairs of train questions (waiting: of all questions)")
        print_table(
            ["candidates", "proposed", "accepted", "rejected", "audited", "curated", "waiting"],
            [[f"{n:,}" for n in (f.candidates, f.proposed, f.accepted, f.rejected, f.audited, f.curated, f.waiting)]],
        )
        if view.graded_candidates:
            tell(f"People alone judge the others: {view.graded_candidates}")
        if view.live is not None:
            figures = "not measured yet"
            if view.live.evaluation is not None:
                figures = ", ".join(
                    f"{m.name} {m.value:.4f} (n = {m.n_queries})" for m in view.live.evaluation.measures
                )
            tell(f"Live: {view.live.name} ({view.live.hash[:12]}): {figures}")
        if run is not None:
            tell(f"Latest run: {run.id}, {run.status} ({run.stage}) {run.message}")
        for step in view.next_steps:
            command = f"  [{step.command}]" if step.command else ""
            tell(f"Next: {step.text}{command}")


def doctor(
    where: Where = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the LLM one small question to find out what it can do; it is kept.")
    ] = False,
    drop_vectors: Annotated[
        bool, typer.Option("--drop-vectors", help="Delete kept passage vectors of retired models; indexes stay.")
    ] = False,
    recount: Annotated[bool, typer.Option("--recount", help="Count anew what screens and lists rely on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check Python, packages, database, model, encoder, disk, worker and LLM, and say what to do about what is wrong.

    Example: relabel doctor --probe
    """
    with opened(where) as workspace:
        from app.bootstrap import judge_host
        from app.errors import AppError
        from app.services.doctor import examine
        from app.services.doctor import probe as ask
        from app.services.doctor import recount as count_anew

        if probe:
            say(f"One small question goes to {judge_host(workspace.settings) or 'nobody: no LLM is set'}.")
            ask(workspace)
        if drop_vectors:
            from app.services import passage_vectors

            say(f"{passage_vectors.drop_vectors(workspace) / (1 << 20):,.0f} MiB of vectors deleted.")
        if recount:
            count_anew(workspace)
        checks = examine(workspace)
        if as_json:
            print_json(list(checks))
        else:
            words = {True: "ok", False: "WRONG", None: "–"}
            rows = [[words[c.ok], c.name, c.detail, "" if c.ok else c.advice] for c in checks]
            print_table(["", "what", "found", "what to do"], rows)
        wrong = [check.name for check in checks if check.ok is False]
        if wrong:
            raise AppError(f"not in order: {', '.join(wrong)}")
