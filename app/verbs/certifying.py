"""How far judges can be trusted: calibrate and certify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.terminal import print_json, print_table, say
from app.verbs.shared import AsJson, Where, WhichCriterion, Who, criterion_of, opened, option_of

if TYPE_CHECKING:
    from annotator.types import Criterion
    from app.bootstrap import Workspace
    from app.services.certificate_views import BatchView, CalibrationView, CertificateView, PlanRow, PlanView

ACTIONS = ("plan", "freeze", "issue", "show", "suspend", "close")

WhichJudge = Annotated[
    str | None,
    typer.Option(
        "--judge", help="A judge's name or number \\[default: the certifiable one behind most current proposals]."
    ),
]


def calibrate(
    where: Where = None,
    judge: WhichJudge = None,
    kind: Annotated[
        str | None, typer.Option(help="token, verbal, votes or retriever \\[default: the judge's most frequent].")
    ] = None,
    with_train: Annotated[
        bool, typer.Option("--with-train", help="Also use blind reviews of train questions; rules them out of batches.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Even if certificates rest on the present one; they are suspended.")
    ] = False,
    about: WhichCriterion = "relevance",
    as_json: AsJson = False,
) -> None:
    """Fit a judge's confidence to what people said blind on calibrate questions, and measure how good it is.

    Example: relabel calibrate --judge gpt-4o-mini
    """
    with opened(where) as workspace:
        from annotator.errors import CalibrationImpossible
        from annotator.types import ConfidenceKind
        from app.errors import InputInvalid, NothingToDo
        from app.services import calibrating

        criterion = criterion_of(about)
        try:
            wanted = None if kind is None else ConfidenceKind(kind)
        except ValueError as exc:
            raise InputInvalid(f"--kind is {kind!r}; choose {', '.join(ConfidenceKind)}") from exc
        judge_id = calibrating.find_judge(workspace, judge, criterion=criterion)
        try:
            view = calibrating.calibrate(
                workspace, judge_id=judge_id, kind=wanted, with_train=with_train, replace=replace, criterion=criterion
            )
        except CalibrationImpossible as exc:
            raise NothingToDo(
                str(exc),
                user_message=f"{exc.user_message}. Next: grade candidates of calibrate questions blind, on the Review "
                "screen [relabel serve], or import judgements of them that people made [relabel import].",
            ) from exc
        if as_json:
            print_json(view)
        else:
            _show_calibration(view)
            if view.standing.certifiable:
                command = f"relabel certify plan --judge {judge_id}{option_of(criterion)}"
                say(f"Next: see how many blind audits buy which error bound. [{command}]")


def _show_calibration(view: CalibrationView) -> None:
    from app.services.certificate_views import CalibrationReport

    say(
        f"{view.standing.name}, {view.kind} confidence: calibrator {view.calibrator_id} from {view.n_reviews:,} blind "
        f"reviews of {view.n_queries:,} questions"
    )

    def row(name: str, report: CalibrationReport | None) -> list[str]:
        if report is None:
            return [name, "", "", ""]
        figures = (report.ece, report.brier, report.auroc_correct)
        return [name] + [
            "–" if one is None else f"{one.value:.3f} [{_bound(one.low)}, {_bound(one.high)}]" for one in figures
        ]

    print_table(
        ["", "ECE (lower is better)", "Brier (lower)", "AUROC of being right (higher)"],
        [row("raw", view.raw), row("calibrated", view.calibrated)],
        title="95 % intervals by question; calibrated: cross-fitted, no question measured by what saw it",
    )
    if view.calibrated is not None:
        say(f"A perfect model would show an ECE of about {view.calibrated.ece_if_perfect:.3f} on so few reviews.")


def _bound(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"


def certify(
    action: Annotated[str, typer.Argument(help="plan, freeze, issue, show, suspend or close.")] = "show",
    where: Where = None,
    judge: WhichJudge = None,
    audits: Annotated[
        int | None,
        typer.Option("--audits", "-n", min=1, help="Blind audits \\[default: 400 for freeze, several for plan]."),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="At most this share wrong among what is accepted \\[default: 0.10; several for plan]."),
    ] = None,
    delta: Annotated[float, typer.Option(help="Chance of a broken promise, both classes together.")] = 0.05,
    batch: Annotated[int | None, typer.Option(help="For issue and close \\[default: the one that is open].")] = None,
    certificate: Annotated[int | None, typer.Option(help="For suspend.")] = None,
    close_early: Annotated[
        bool, typer.Option("--close-early", help="Issue now; audits nobody answered count as errors.")
    ] = False,
    reason: Annotated[str, typer.Option(help="For suspend and close; recorded.")] = "by hand",
    person: Who = None,
    about: WhichCriterion = "relevance",
    as_json: AsJson = False,
) -> None:
    """Accept labels under a stated error bound: plan, freeze a batch and draw its blind audits, issue, look, suspend.

    Example: relabel certify freeze --audits 400 --epsilon 0.10
    """
    with opened(where) as workspace:
        from app.errors import InputInvalid
        from app.services import calibrating, certifying

        criterion = criterion_of(about)
        if action == "plan":
            judge_id = calibrating.find_judge(workspace, judge, criterion=criterion)
            plan = _plan(workspace, judge_id=judge_id, audits=audits, epsilon=epsilon, delta=delta, criterion=criterion)
            if as_json:
                print_json(plan)
            else:
                _show_plan(plan)
                command = f"relabel certify freeze --judge {judge_id} --epsilon E --audits N{option_of(criterion)}"
                say(f"Next: freeze a batch with E and N of the line you choose. [{command}]")
        elif action == "freeze":
            frozen = _freeze(
                workspace,
                judge_id=calibrating.find_judge(workspace, judge, criterion=criterion),
                audits=400 if audits is None else audits,
                person=person or workspace.settings.person,
                epsilon=0.1 if epsilon is None else epsilon,
                delta=delta,
                criterion=criterion,
            )
            if as_json:
                print_json(frozen)
            else:
                _show_batch(frozen)
                say(
                    f"Next: answer the {frozen.n_audits:,} blind audits on the Review screen. [relabel serve] "
                    f"Then issue its certificates. [relabel certify issue{option_of(criterion)}]"
                )
        elif action == "issue":
            batch_id = _batch(workspace, batch, criterion)
            report = certifying.issue(workspace, batch_id=batch_id, close_early=close_early)
            if as_json:
                print_json(report)
            else:
                _show_certificates(report.certificates)
                say(
                    f"{report.accepted:,} accepted under a certificate, {report.rejected:,} left to people; "
                    f"{report.waiting:,} wait"
                )
        elif action == "show":
            shown = (
                certifying.list_batches(workspace, criterion=criterion),
                certifying.list_certificates(workspace, criterion=criterion),
            )
            if as_json:
                print_json({"batches": shown[0], "certificates": shown[1]})
            else:
                for one in shown[0]:
                    _show_batch(one)
                _show_certificates(shown[1])
        elif action == "suspend":
            if certificate is None:
                raise InputInvalid("suspend needs --certificate NUMBER")
            back = certifying.suspend(workspace, certificate_id=certificate, reason=reason)
            print_json({"back": back}) if as_json else say(f"Suspended; {back:,} pairs went back to people.")
        elif action == "close":
            closed = certifying.close(workspace, batch_id=_batch(workspace, batch, criterion), reason=reason)
            print_json(closed) if as_json else _show_batch(closed)
        else:
            raise InputInvalid(f"there is no {action!r}; choose {', '.join(ACTIONS)}")


def _plan(
    workspace: Workspace,
    *,
    judge_id: int,
    audits: int | None,
    epsilon: float | None,
    delta: float,
    criterion: Criterion,
) -> PlanView:
    """The plan, for the ε and the audits that were given alone.

    Raises:
        InputInvalid: the batch is too small for them, or ε or δ is no share.
    """
    from annotator.audit_plan import BUDGETS, EPSILONS
    from annotator.errors import CertificateImpossible
    from app.errors import InputInvalid
    from app.services import audit_planning

    try:
        return audit_planning.plan(
            workspace,
            judge_id=judge_id,
            epsilons=EPSILONS if epsilon is None else (epsilon,),
            budgets=BUDGETS if audits is None else (audits,),
            delta=delta,
            criterion=criterion,
        )
    except CertificateImpossible as exc:
        raise InputInvalid(str(exc), user_message=f"{exc.user_message}. Choose --audits and --epsilon.") from exc


def _freeze(
    workspace: Workspace,
    *,
    judge_id: int,
    audits: int,
    person: str,
    epsilon: float,
    delta: float,
    criterion: Criterion,
) -> BatchView:
    """The frozen batch.

    Raises:
        InputInvalid: it is too small for so many audits, or ε or δ is no share.
    """
    from annotator.errors import CertificateImpossible
    from app.errors import InputInvalid
    from app.services import certifying

    try:
        return certifying.freeze(
            workspace, judge_id=judge_id, n=audits, person=person, epsilon=epsilon, delta=delta, criterion=criterion
        )
    except CertificateImpossible as exc:
        raise InputInvalid(str(exc), user_message=f"{exc.user_message}. Choose --audits and --epsilon.") from exc


def _batch(workspace: Workspace, given: int | None, criterion: Criterion) -> int:
    """The batch meant: the one given, else the only one that is open."""
    from app.errors import InputInvalid, NothingToDo
    from app.services import certifying

    if given is not None:
        return given
    found = [one.id for one in certifying.list_batches(workspace, criterion=criterion) if one.state == "open"]
    if not found:
        raise NothingToDo("no batch is open", user_message="No batch is open. Freeze one: relabel certify freeze")
    if len(found) > 1:
        raise InputInvalid(f"several batches are open; name one with --batch: {', '.join(map(str, found))}")
    return found[0]


def _show_plan(plan: PlanView) -> None:
    time = f"{plan.seconds_per_review:.0f} s a review, " + (
        f"the median of {plan.n_timed:,} here" if plan.n_timed else "assumed: too few are timed here"
    )
    say(f"{plan.judge}: {plan.n_pairs:,} pairs can be frozen, {plan.n_relevant:,} of them proposed as relevant; {time}")
    for why, number in plan.excluded.items():
        say(f"  {number:,} more are left out: {why}")
    print_table(
        ["at most wrong", "audits", "hours", "irrelevant accepted", "relevant accepted"],
        [
            [f"{row.epsilon:.0%}", f"{row.n_audits:,}", f"{row.hours:.1f}"]
            + [f"{one.coverage:.0%} ({one.low:.0%}–{one.high:.0%})" for one in (row.irrelevant, row.relevant)]
            for row in plan.rows
        ],
        title="expected share of each class; in brackets if the odds of being wrong are twice, or a third of, what the "
        "calibrator says",
    )
    if _falls(plan.rows):
        say(
            "More audits can show a smaller share: each line is a design of its own, simulated, and chosen to do well "
            "over both classes even where the calibrator is wrong."
        )


def _falls(rows: tuple[PlanRow, ...]) -> bool:
    """Whether more audits show less of a class accepted than fewer do, at one ε."""
    return any(
        more.epsilon == fewer.epsilon
        and more.n_audits > fewer.n_audits
        and (more.irrelevant.coverage < fewer.irrelevant.coverage or more.relevant.coverage < fewer.relevant.coverage)
        for more in rows
        for fewer in rows
    )


def _show_batch(batch: BatchView) -> None:
    audits = f"{batch.n_to_go:,} of {batch.n_audits:,} blind audits to go" if batch.state == "open" else batch.state
    note = f" ({batch.note})" if batch.note else ""
    again = f"; attempt {batch.attempt} on some of these pairs" if batch.attempt > 1 else ""
    say(f"Batch {batch.id}, {batch.judge}: {batch.n_pairs:,} pairs, ε {batch.epsilon:.0%}, {audits}{note}{again}")
    for why, number in batch.excluded.items():
        say(f"  {number:,} more are left out: {why}")


def _show_certificates(certificates: tuple[CertificateView, ...]) -> None:
    if not certificates:
        say("No certificate yet: whatever is accepted is uncertified.")
        return
    print_table(
        [
            "no.",
            "batch",
            "judge",
            "class",
            "state",
            "ε",
            "1 − δ/2",
            "audits",
            "wrong",
            "accepted",
            "coverage",
            "recall",
            "spot checks",
        ],
        [
            [
                str(one.id),
                str(one.batch_id),
                one.judge,
                "relevant" if one.relevant else "irrelevant",
                one.state,
                f"{one.epsilon:.0%}",
                f"{1 - one.delta / 2:.1%}",
                f"{one.n_audits:,}",
                f"{one.n_errors:,}",
                f"{one.n_accepted:,}",
                f"{one.coverage:.0%}",
                _recall(one),
                _spot_checks(one),
            ]
            for one in certificates
        ],
        title="coverage: of the class's pairs nobody audited; recall: of the batch's relevant pairs, accepted as such, "
        "with its 95 % interval",
    )
    for one in certificates:
        say(f"  {one.id}: {one.reason}")


def _recall(one: CertificateView) -> str:
    if one.recall_relevant is None:
        return "–"
    interval = "" if one.recall_interval is None else " [{:.0%}, {:.0%}]".format(*one.recall_interval)
    return f"{one.recall_relevant:.0%}{interval}"


def _spot_checks(one: CertificateView) -> str:
    if one.spot_checks is None:
        return "–"
    return f"{one.spot_checks.n_done:,} of {one.spot_checks.n_drawn:,}, {one.spot_checks.n_wrong:,} wrong"
