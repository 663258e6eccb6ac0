"""Which pairs are in the queue, what each is worth, why it is there, and how many people it wants. Pure arithmetic.

The value is `annotator.audit_value`; what goes into it was read by `queue_signals`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotator.audit_value import CLOSE, AuditCase, audit_order, audit_value, p_of_grade, score_threshold
from db.enums import QueueCause
from db.queries.queue_signals import Bools, Floats, Ids, QueueSettings, Signals

TOP = 10
"""Up to this place, search hides a wrong "not relevant" from nobody. Our choice: the depth that is measured."""

FIRST = 3
"""Up to this place, what is accepted as not relevant is asked about all the same. Our choice: more would drown what was
rejected, wherever search and judge differ much."""

SURE = 0.95
"""From here on a judge is believed against a person, as far as to ask a second one. Source: DIRAS (arXiv 2406.14162),
whose authors found the model right in 86 to 98 % of such cases."""

MAJORITY = 3
"""Judges that it takes for a majority of them to stand against a person. Our choice."""

TELLING = 0.5
"""From here on one part of the value is named as the cause. Our choice: the first three places, or 0.07 in cosine."""

SEED = 0
"""Of the random share: the same queue is drawn alike each time, and its reader cannot choose."""

UInts = NDArray[np.uint64]

Calibrate = Callable[[Signals, Ids], Floats]
"""Given signals and places in them, the probability that people call these pairs relevant; NaN without a calibrator."""


@dataclass(frozen=True, slots=True)
class QueueOrder:
    """The queue, one place an entry, by value; every array is (m,).

    at: the pair's place in the signals. random, query, oldest: positions from 1 in the other orders. value: of
    `audit_value`. p: probability that people call it relevant, as far as judges tell. wanted, open: people in all and
    still. blind: nothing of what was proposed may be repeated. relevant: the side that was proposed.
    """

    at: Ids
    random: Ids
    query: Ids
    oldest: Ids
    cause: tuple[QueueCause, ...]
    value: Floats
    p: Floats
    wanted: Ids
    open: Ids
    blind: Bools
    relevant: Bools

    def __len__(self) -> int:
        return len(self.at)

    def keep(self, kept: Bools) -> QueueOrder:
        """The entries where `kept`, (m,), is set; positions are counted anew."""
        return QueueOrder(
            at=self.at[kept],
            random=_ranks(self.random[kept]),
            query=_ranks(self.query[kept]),
            oldest=_ranks(self.oldest[kept]),
            cause=tuple(cause for cause, one in zip(self.cause, kept.tolist(), strict=True) if one),
            value=self.value[kept],
            p=self.p[kept],
            wanted=self.wanted[kept],
            open=self.open[kept],
            blind=self.blind[kept],
            relevant=self.relevant[kept],
        )


@dataclass(frozen=True, slots=True)
class _Members:
    """Who is in the queue, as masks over the signals."""

    waits: Bools
    suspect: Bools
    missed: Bools
    wanted: Ids

    @property
    def every(self) -> Bools:
        return self.waits | self.suspect | self.missed


def order_queue(signals: Signals, settings: QueueSettings, calibrate: Calibrate | None = None) -> QueueOrder:
    """The whole queue in its four orders."""
    proposed = _p_proposed(signals, settings)
    threshold, top_half = _query_lines(signals, settings)
    # Only where a person's grade could be doubted or a proposal waits, a calibrator has something to say.
    asked = np.flatnonzero(~np.isnan(signals.grade) & ~signals.people_only & ~signals.accepted)
    if calibrate is not None and len(asked):
        better = calibrate(signals, asked)
        known = ~np.isnan(better)
        calibrated = np.full(signals.n, np.nan)
        calibrated[asked[known]] = better[known]
    else:
        calibrated = np.full(signals.n, np.nan)
    p = np.where(np.isnan(calibrated), proposed, calibrated)
    members = _members(signals, settings, p=p, calibrated=calibrated, top_half=top_half)
    at = np.flatnonzero(members.every)
    place = np.where(np.isnan(signals.live_rank), signals.pool_rank, signals.live_rank)
    at = at[np.lexsort((signals.pair_id[at], np.where(np.isnan(place[at]), np.inf, place[at])))]
    margin = signals.score - threshold
    cases = [_case(signals, members, one, p=p, place=place, margin=margin) for one in at.tolist()]
    values = np.array([audit_value(case) for case in cases], dtype=np.float64)
    order = audit_order(values.tolist(), seed=SEED, explored=settings.explored)
    drawn = np.zeros(len(at), dtype=np.bool_)
    numbers = np.arange(len(at), dtype=np.float64)
    drawn[order] = np.floor((numbers + 1) * settings.explored) > np.floor(numbers * settings.explored)
    causes = tuple(
        _cause(signals, members, int(at[one]), case=cases[one], drawn=bool(drawn[one])) for one in order.tolist()
    )
    at, values = at[order], values[order]
    wanted = members.wanted[at]
    return QueueOrder(
        at=at,
        random=_ranks(_drawn(signals.pair_id[at], salt=1)),
        query=_by_query(signals.query_id[at], values),
        oldest=_ranks(signals.since[at]),
        cause=causes,
        value=values,
        p=p[at],
        wanted=wanted,
        open=np.maximum(wanted - signals.graders[at], 0),
        blind=signals.people_only[at],
        relevant=signals.grade[at] >= settings.relevant_from,
    )


def _p_proposed(signals: Signals, settings: QueueSettings) -> Floats:
    """p(relevant) as the judge itself says: its confidence on the side of its grade, else by the grade alone.

    A half where nobody proposed anything readable, or people judge without looking at it.
    """
    scale = settings.scale
    by_grade = np.array([p_of_grade(grade, scale) for grade in scale.grades])
    known = ~np.isnan(signals.grade) & ~signals.people_only
    grade = np.clip(np.where(known, signals.grade, 0), 0, scale.max_grade).astype(np.int64)
    side = grade >= scale.relevant_from
    sure = np.where(side, signals.confidence, 1.0 - signals.confidence)
    p = np.where(np.isnan(sure), by_grade[grade], sure)
    return np.where(known, np.clip(p, 0.0, 1.0), 0.5)


def _query_lines(signals: Signals, settings: QueueSettings) -> tuple[Floats, Floats]:
    """For each pair, its query's score threshold and the median score of the query's relevant pairs; NaN without.

    Relevant is what holds, or else was proposed. Not for questions that people judge alone.
    """
    threshold, top_half = np.full(signals.n, np.nan), np.full(signals.n, np.nan)
    held = np.where(np.isnan(signals.standing), signals.grade, signals.standing)
    usable = np.flatnonzero(~np.isnan(signals.score) & ~np.isnan(held) & ~signals.people_only)
    usable = usable[np.argsort(signals.query_id[usable], kind="stable")]
    lines: dict[int, tuple[float, float]] = {}
    bounds = np.flatnonzero(np.diff(signals.query_id[usable])) + 1
    for inside in np.split(usable, bounds):
        relevant = held[inside] >= settings.relevant_from
        found = score_threshold(signals.score[inside].tolist(), relevant.tolist())
        if found is not None:
            lines[int(signals.query_id[inside[0]])] = (found, float(np.median(signals.score[inside][relevant])))
    if lines:
        keys = np.array(sorted(lines), dtype=np.int64)
        values = np.array([lines[key] for key in keys.tolist()])
        where = np.minimum(np.searchsorted(keys, signals.query_id), len(keys) - 1)
        known = (keys[where] == signals.query_id) & ~signals.people_only
        threshold[known], top_half[known] = values[where[known], 0], values[where[known], 1]
    return threshold, top_half


def _members(signals: Signals, settings: QueueSettings, *, p: Floats, calibrated: Floats, top_half: Floats) -> _Members:
    served = ~signals.locked & ~signals.flagged & ~signals.adjudicated
    share = _drawn(signals.pair_id, salt=2).astype(np.float64) / 2.0**64
    wanted = np.where(share < settings.overlap_share, settings.overlap, 1).astype(np.int64)
    graded = signals.graders > 0
    candidate = ~np.isnan(signals.pool_rank)
    first = ~graded & (signals.rejected | (candidate & signals.people_only))
    # A grade that came in a file asks for no second person; one that was given here does, where several are wanted.
    more = graded & signals.at_desk & (signals.graders < wanted)
    high = signals.live_rank <= TOP
    irrelevant = signals.grade < settings.relevant_from
    above = signals.train & ~graded & (signals.live_rank <= FIRST) & (signals.score >= top_half)
    missed = above & irrelevant & signals.accepted & ~signals.certified
    labelled = np.unique(signals.query_id[signals.suggestion_id >= 0])
    unjudged = signals.train & ~graded & high & candidate & (signals.suggestion_id < 0)
    unjudged &= np.isin(signals.query_id, labelled)
    # On questions that measure, a second look only where a judge disagrees would bend the measure toward the judge.
    person = np.where(np.isnan(signals.standing), np.nan, signals.standing >= settings.relevant_from)
    sure = np.where(np.isnan(calibrated), np.where(signals.token, p, np.nan), calibrated)
    against = np.where(person == 1, sure <= 1.0 - SURE, sure >= SURE) & ~np.isnan(sure)
    share_relevant = signals.relevant_votes / np.maximum(signals.votes, 1)
    outvoted = (signals.votes >= MAJORITY) & np.where(person == 1, share_relevant < 0.5, share_relevant > 0.5)
    suspect = signals.train & (signals.graders == 1) & ~np.isnan(person) & (against | outvoted)
    wanted = np.where(suspect, np.maximum(wanted, signals.graders + 1), wanted)
    return _Members(
        waits=served & (first | more),
        suspect=served & suspect,
        missed=served & (missed | unjudged),
        wanted=np.minimum(wanted, 9),
    )


def _case(signals: Signals, members: _Members, at: int, *, p: Floats, place: Floats, margin: Floats) -> AuditCase:
    rank = None if math.isnan(place[at]) else int(place[at])
    if signals.people_only[at]:
        return AuditCase(p_relevant=0.5, rank=rank)
    disagreement = None
    if members.suspect[at]:
        disagreement = 1.0  # a person on one side, the judges on the other
    elif signals.votes[at] > 1:
        share = float(signals.relevant_votes[at] / signals.votes[at])
        disagreement = 4.0 * share * (1.0 - share)
    return AuditCase(
        p_relevant=float(p[at]),
        rank=rank,
        margin=None if math.isnan(margin[at]) else float(margin[at]),
        disagreement=disagreement,
    )


def _cause(signals: Signals, members: _Members, at: int, *, case: AuditCase, drawn: bool) -> QueueCause:
    """The strongest reason: first what alone brought the pair here, then the draw, then the value's largest part."""
    if signals.people_only[at]:
        return QueueCause.PEOPLE_ONLY
    if members.suspect[at]:
        return QueueCause.SUSPECT_HUMAN
    if signals.unreadable[at]:
        return QueueCause.UNREADABLE
    if members.missed[at]:
        return QueueCause.FALSE_NEGATIVE
    if drawn:
        return QueueCause.DRAWN
    p = case.p_relevant
    if case.disagreement is not None and case.disagreement >= max(TELLING, 4.0 * p * (1.0 - p)):
        return QueueCause.DISAGREEMENT
    close = 0.0 if case.margin is None else math.exp(-abs(case.margin) / CLOSE)
    if p < 0.5 and case.margin is not None and case.margin > 0 and signals.live_rank[at] <= TOP and close < TELLING:
        return QueueCause.FALSE_NEGATIVE
    high = 0.0 if case.rank is None else 1.0 / math.log2(1.0 + case.rank)
    if max(close, high) < TELLING:
        return QueueCause.OTHER
    return QueueCause.NEAR_THRESHOLD if close >= high else QueueCause.HIGH_RANK


def _drawn(pair_id: Ids, *, salt: int) -> UInts:
    """A number from 0 to 2^64 − 1 for each pair that looks random and is always the same.

    Source: the finaliser of splitmix64 (Steele, Lea and Flood 2014).
    """
    with np.errstate(over="ignore"):
        x = pair_id.astype(np.uint64) + np.uint64(salt) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _ranks(keys: Floats | Ids | UInts) -> Ids:
    """Positions from 1 by rising key, the earlier of equals first."""
    ranks = np.empty(len(keys), dtype=np.int64)
    ranks[np.argsort(keys, kind="stable")] = np.arange(1, len(keys) + 1)
    return ranks


def _by_query(query_id: Ids, values: Floats) -> Ids:
    """Positions from 1: a query's pairs together, by value; queries by their best one, then by id."""
    _, inverse = np.unique(query_id, return_inverse=True)
    best = np.full(int(inverse.max()) + 1 if len(inverse) else 0, -np.inf)
    np.maximum.at(best, inverse, values)
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.lexsort((-values, query_id, -best[inverse]))] = np.arange(1, len(values) + 1)
    return ranks
