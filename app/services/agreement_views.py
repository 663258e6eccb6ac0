"""How far people and judges agree, from blind grades alone: by pairs of people, by judge, and over time.

Who sees what is decided here. An owner sees everybody by name. An adjudicator sees everybody's figures, the others
without their names: who decides between two people must not know how either usually grades. A reviewer sees the figures
that they are part of, the other person without a name. What is said of judges, and of all people together, is no
secret.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from annotator.types import Criterion, JudgeKind
from app.bootstrap import Workspace
from app.services.agreement_figures import (
    LEAST_PAIRS,
    LEAST_QUESTIONS,
    AgreementFigure,
    alpha_figure,
    resampled_weights,
)
from app.services.agreement_tables import (
    against_people,
    alpha_with,
    beside_judges,
    between_people,
    by_period,
    counts_of,
    lay_out,
)
from app.services.refusals import is_owner
from db.enums import PersonKind, Role
from db.queries import agreeing
from db.queries.agreeing import JudgeRater, PersonRater

NEWEST = 200_000
"""No more blind grades than these, the newest, are read. Our choice."""


@dataclass(frozen=True, slots=True)
class JudgeAgreement:
    """One judge as a rater. kappa: beside each blind grade of a person; alpha: of people and the judge together."""

    judge_id: int
    judge: str
    kind: JudgeKind
    kappa: AgreementFigure
    alpha: AgreementFigure


@dataclass(frozen=True, slots=True)
class RatersAgreement:
    """Two raters on the pairs that both graded; a person whose name is not shown is called by a number."""

    first: str
    second: str
    kappa: AgreementFigure


@dataclass(frozen=True, slots=True)
class PeriodAgreement:
    """A week or a month, from its first day on, UTC. judges: κ against people by judge, as they are called above."""

    start: datetime
    alpha: AgreementFigure
    judges: Mapping[str, AgreementFigure]


@dataclass(frozen=True, slots=True)
class AgreementView:
    """Agreement beyond chance: 1 is full agreement, 0 is chance.

    n_grades: blind grades that count, of n_pairs pairs; n_twice of these have two people's or more. is_capped: there
    may be more, and the newest `NEWEST` were read. alpha: of people alone. people: each two of them; with_judges: each
    person with each judge; n_left_out: pairs of raters with less in common that are not listed. period: "week" or
    "month". named: whether the names of others are shown; everything: whether everybody's figures are.
    """

    criterion: Criterion
    n_grades: int
    n_pairs: int
    n_twice: int
    is_capped: bool
    alpha: AgreementFigure
    judges: tuple[JudgeAgreement, ...]
    people: tuple[RatersAgreement, ...]
    with_judges: tuple[RatersAgreement, ...]
    n_left_out: int
    period: str
    over_time: tuple[PeriodAgreement, ...]
    named: bool
    everything: bool
    least_pairs: int = LEAST_PAIRS
    least_questions: int = LEAST_QUESTIONS


def get_agreement(
    workspace: Workspace, *, person: str, criterion: Criterion = Criterion.RELEVANCE, newest: int = NEWEST
) -> AgreementView:
    """Agreement as this person may see it; the rule stands at the head of this module.

    κ has quadratic weights and α is that of ordered grades: grades are steps on a scale, and 0 against 3 is a worse
    disagreement than 2 against 3. Judges count where questions train or calibrate: on held-out ones people's grades
    test retrievers and are compared with nothing that could choose labels.
    """
    with workspace.sessions.read() as session:
        people = agreeing.list_person_raters(session)
        judges = agreeing.list_judge_raters(session, criterion=criterion)
        graded = agreeing.list_first_blind_grades(session, criterion=criterion, newest=newest)
        proposed = agreeing.list_judge_grades(session, criterion=criterion, newest=newest)
        owner = is_owner(workspace, session, person)
    me = next((one.id for one in people.values() if one.name == person), None)
    everything = owner or (me is not None and people[me].role is Role.ADJUDICATOR)
    grades, weights = lay_out(graded, proposed, max_grade=workspace.scale.max_grade), resampled_weights()
    counts = counts_of(grades)
    only = None if everything else (me or 0)  # no id is 0: somebody who is new here is part of nothing
    met, n_unmet = between_people(grades, only=only, weights=weights)
    beside, n_unshown = beside_judges(grades, only=only, weights=weights)
    period, periods = by_period(grades, counts, weights=weights)
    names, called = _names(people, me=me, named=owner), _judge_names(judges)
    return AgreementView(
        criterion=criterion,
        n_grades=len(grades.place),
        n_pairs=len(grades.pair_question),
        n_twice=int((counts.sum(axis=1) >= 2).sum()),
        is_capped=len(graded) >= newest,
        alpha=alpha_figure(counts, grades.pair_question, weights=weights),
        judges=tuple(
            JudgeAgreement(
                judge_id=judge,
                judge=called[judge],
                kind=judges[judge].kind,
                kappa=against_people(grades, judge, weights=weights),
                alpha=alpha_with(grades, counts, judge, weights=weights),
            )
            for judge in grades.judged
        ),
        people=tuple(RatersAgreement(names[one], names[other], kappa) for one, other, kappa in met),
        with_judges=tuple(RatersAgreement(names[one], called[judge], kappa) for one, judge, kappa in beside),
        n_left_out=n_unmet + n_unshown,
        period=period,
        over_time=tuple(
            PeriodAgreement(one.start, one.alpha, {called[judge]: kappa for judge, kappa in one.judges.items()})
            for one in periods
        ),
        named=owner,
        everything=everything,
    )


def _names(people: Mapping[int, PersonRater], *, me: int | None, named: bool) -> dict[int, str]:
    """What each person is called: by name for owners, else all but oneself by a number."""
    shown = {}
    for number, (key, one) in enumerate(people.items(), start=1):
        imported = " (imported)" if one.kind is PersonKind.IMPORTED else ""
        shown[key] = (one.name if named or key == me else f"Person {number}") + imported
    return shown


def _judge_names(judges: Mapping[int, JudgeRater]) -> dict[int, str]:
    often = Counter(one.name for one in judges.values())
    return {key: one.name if often[one.name] == 1 else f"{one.name} (no. {key})" for key, one in judges.items()}
