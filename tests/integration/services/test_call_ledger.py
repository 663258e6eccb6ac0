"""The ledger of calls: caps that hold over workers and crashes, replies bought once, limits shared by all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

import pytest
import sqlalchemy as sa

from annotator.confidence import TokenLogprob
from annotator.errors import CapReached
from annotator.judges.call_ledger import Ticket
from annotator.judges.reply_cache import CachedReply
from annotator.types import Criterion, JudgeIdentity, JudgeKind
from app.bootstrap import Workspace, open_with
from app.services.call_ledger import DatabaseLedger
from builders import Clock, with_clock
from db.enums import RunStatus, SpendState
from db.models import LabelJob, ReplyCacheEntry, SpendEntry
from db.queries import labelling as label_queries

REPLY = CachedReply(
    text='{"grade": 2, "reason": "caf\u00e9 \0 \ud83d"}',
    finish_reason="stop",
    logprobs=(TokenLogprob(10, "2", -0.25, (("2", -0.25), ("3", -1.5))),),
    prompt_tokens=120,
    completion_tokens=30,
    model="scripted",
    reasoned=True,
)
USED = 150


def make_job(workspace: Workspace, *, token_cap: int | None = None, cost_cap_usd: float | None = None) -> int:
    identity = JudgeIdentity("m/p", JudgeKind.LLM, "m", "v", Criterion.RELEVANCE, True, {})
    with workspace.sessions.begin() as session:
        now = workspace.now()
        judge = label_queries.ensure_judge(session, identity, now=now)
        job = LabelJob(
            judge_id=judge.id,
            criterion=judge.criterion,
            n_pairs=1,
            status=RunStatus.RUNNING,
            token_cap=token_cap,
            cost_cap_usd=cost_cap_usd,
            started_at=now,
        )
        session.add(job)
        session.flush()
        return job.id


def spent(workspace: Workspace, job_id: int) -> tuple[int, int]:
    """(tokens the job counts, tokens of its entries that were not released)."""
    with workspace.sessions.read() as session:
        counted = sa.select(sa.func.coalesce(sa.func.sum(SpendEntry.tokens), 0)).where(
            SpendEntry.job_id == job_id, SpendEntry.state != SpendState.RELEASED
        )
        return session.get_one(LabelJob, job_id).spent_tokens, int(session.scalar(counted) or 0)


async def begin(ledger: DatabaseLedger, key: str, *, worst: int = 1_000, cost: float | None = None) -> Ticket:
    begun = await ledger.begin(key, worst_tokens=worst, worst_cost_usd=cost)
    assert isinstance(begun, Ticket)
    return begun


def in_ledger(workspace: Workspace, job_id: int, act: Callable[[DatabaseLedger], Awaitable[None]]) -> None:
    async def run() -> None:
        await act(ledger)

    with DatabaseLedger(workspace, job_id=job_id) as ledger:
        asyncio.run(run())


def test_a_stored_reply_comes_back_unchanged_after_the_workspace_was_reopened(any_workspace: Workspace) -> None:
    """What was paid for is read back as something else, or not at all."""
    job_id = make_job(any_workspace)

    async def buy(ledger: DatabaseLedger) -> None:
        await ledger.settle(await begin(ledger, "k"), REPLY, cost_usd=0.5)

    async def find(ledger: DatabaseLedger) -> None:
        assert await ledger.begin("k", worst_tokens=1, worst_cost_usd=None) == REPLY

    in_ledger(any_workspace, job_id, buy)
    reopened = open_with(any_workspace.settings)
    try:
        in_ledger(reopened, job_id, find)
    finally:
        reopened.close()
    assert spent(any_workspace, job_id) == (USED, USED)


def test_the_first_of_two_replies_under_one_key_stays(any_workspace: Workspace) -> None:
    """Two workers ask the same; the later reply replaces the one a suggestion was made from."""
    job_id = make_job(any_workspace)

    async def twice(ledger: DatabaseLedger) -> None:
        ticket = await begin(ledger, "k")
        await ledger.settle(ticket, REPLY, cost_usd=None)
        again = replace(ticket, id=ticket.id)
        await ledger.settle(again, CachedReply("other", None, None, 1, 1, "scripted"), cost_usd=None)
        assert await ledger.begin("k", worst_tokens=1, worst_cost_usd=None) == REPLY

    in_ledger(any_workspace, job_id, twice)


def test_a_reply_that_names_no_tokens_counts_at_its_worst_case(any_workspace: Workspace) -> None:
    """A server that reports no usage runs past every cap for free."""
    job_id = make_job(any_workspace)

    async def buy(ledger: DatabaseLedger) -> None:
        silent = replace(REPLY, prompt_tokens=0, completion_tokens=0)
        await ledger.settle(await begin(ledger, "k", worst=777), silent, cost_usd=None)

    in_ledger(any_workspace, job_id, buy)
    assert spent(any_workspace, job_id) == (777, 777)


def test_what_may_have_been_billed_stays_counted_and_what_was_refused_does_not(any_workspace: Workspace) -> None:
    """A time-out that was billed counts for nothing, or a refused call eats the cap."""
    job_id = make_job(any_workspace)

    async def fail(ledger: DatabaseLedger) -> None:
        await ledger.abandon(await begin(ledger, "billed", worst=500), may_have_cost=True)
        await ledger.abandon(await begin(ledger, "refused", worst=900), may_have_cost=False)

    in_ledger(any_workspace, job_id, fail)
    assert spent(any_workspace, job_id) == (500, 500)


def test_two_workers_together_never_reserve_more_than_the_cap(any_workspace: Workspace) -> None:
    """Each worker looks, each sees room, and both spend it."""
    job_id = make_job(any_workspace, token_cap=10_500)
    granted: list[Ticket] = []
    refused: list[CapReached] = []

    async def ask(ledger: DatabaseLedger, key: str) -> None:
        try:
            granted.append(await begin(ledger, key))
            assert spent(any_workspace, job_id)[0] <= 10_500
        except CapReached as exc:
            refused.append(exc)

    async def both(one: DatabaseLedger, two: DatabaseLedger) -> None:
        asking = [asyncio.create_task(ask(ledger, f"{n}{ledger is one}")) for n in range(10) for ledger in (one, two)]
        while len(granted) < 10:
            await asyncio.sleep(0.01)
        owner_of = {id_: ledger for ledger in (one, two) for id_ in ledger._open}
        for ticket in granted[:]:
            await owner_of[ticket.id].abandon(ticket, may_have_cost=True)
        await asyncio.gather(*asking)

    with DatabaseLedger(any_workspace, job_id=job_id) as one, DatabaseLedger(any_workspace, job_id=job_id) as two:
        asyncio.run(both(one, two))
    assert (len(granted), len(refused)) == (10, 10)
    assert spent(any_workspace, job_id) == (10_000, 10_000)
    assert "10,500 tokens" in refused[0].user_message


def test_a_call_that_does_not_fit_waits_for_those_under_way_and_then_fits(any_workspace: Workspace) -> None:
    """A job stops at half of its cap because calls are counted at their worst until they are back."""
    job_id = make_job(any_workspace, token_cap=1_500)

    async def wait_and_go(ledger: DatabaseLedger) -> None:
        first = await begin(ledger, "a")
        second = asyncio.create_task(begin(ledger, "b"))
        await asyncio.sleep(0.2)
        assert not second.done()
        await ledger.settle(first, REPLY, cost_usd=None)
        assert (await second).key == "b"

    in_ledger(any_workspace, job_id, wait_and_go)
    assert spent(any_workspace, job_id) == (USED + 1_000, USED + 1_000)


@pytest.mark.parametrize(("cost", "words"), [(None, "known price"), (0.3, "$0.5000")])
def test_a_cap_in_dollars_holds_and_an_unknown_price_is_refused(
    any_workspace: Workspace, cost: float | None, words: str
) -> None:
    """A cap in dollars that a model without a price passes unseen."""
    job_id = make_job(any_workspace, cost_cap_usd=0.5)

    async def spend(ledger: DatabaseLedger) -> None:
        if cost is not None:
            await ledger.settle(await begin(ledger, "a", cost=cost), REPLY, cost_usd=0.25)
        with pytest.raises(CapReached, match=words.replace("$", r"\$")):
            await begin(ledger, "b", cost=cost)

    in_ledger(any_workspace, job_id, spend)


def test_what_a_dead_worker_had_under_way_stays_counted_and_its_places_come_free(any_workspace: Workspace) -> None:
    """After a kill the cap forgets what was under way, or a restart waits a minute for the dead."""
    job_id = make_job(any_workspace, token_cap=1_800)
    dead = DatabaseLedger(any_workspace, job_id=job_id, concurrency=1)

    async def die() -> None:
        await begin(dead, "same")
        await dead.place().__aenter__()

    asyncio.run(die())
    dead._operations.put(None)
    assert dead._writer is not None
    dead._writer.join()
    assert dead._owner is not None
    dead._owner._lock.release()  # as the system does when a process is killed

    async def go_on() -> None:
        async with alive.place():
            with pytest.raises(CapReached):
                await begin(alive, "same")

    with DatabaseLedger(any_workspace, job_id=job_id, concurrency=1) as alive:
        asyncio.run(asyncio.wait_for(go_on(), timeout=20))
    assert spent(any_workspace, job_id) == (1_000, 1_000)


def test_two_workers_that_ask_the_same_buy_it_once(any_workspace: Workspace) -> None:
    """The same pair in two workers is paid for twice."""
    job_id = make_job(any_workspace)

    async def both(one: DatabaseLedger, two: DatabaseLedger) -> None:
        ticket = await begin(one, "same")
        asking = asyncio.create_task(two.begin("same", worst_tokens=1, worst_cost_usd=None))
        await asyncio.sleep(0.2)
        assert not asking.done()
        await one.settle(ticket, REPLY, cost_usd=None)
        assert await asking == REPLY

    with DatabaseLedger(any_workspace, job_id=job_id) as one, DatabaseLedger(any_workspace, job_id=job_id) as two:
        asyncio.run(both(one, two))


def test_a_call_that_outlasts_its_reservation_is_not_bought_by_another_worker(any_workspace: Workspace) -> None:
    """A slow server, and two workers pay for the same reply."""
    clock = Clock()
    workspace = with_clock(any_workspace, clock)
    job_id = make_job(workspace)

    def expires() -> datetime:
        with workspace.sessions.read() as session:
            return session.scalars(sa.select(SpendEntry.expires_at)).one()

    async def both(one: DatabaseLedger, two: DatabaseLedger) -> None:
        ticket = await begin(one, "same")
        lease = expires() - workspace.now()
        for _ in range(4):  # 2.4 times as long as the reservation was made for
            before = expires()
            clock.pass_minutes(0.6 * lease.total_seconds() / 60)
            while expires() == before:
                await asyncio.sleep(0.05)
        asking = asyncio.create_task(two.begin("same", worst_tokens=1, worst_cost_usd=None))
        await asyncio.sleep(0.3)
        assert not asking.done()
        await one.settle(ticket, REPLY, cost_usd=None)
        assert await asking == REPLY

    with DatabaseLedger(workspace, job_id=job_id) as one, DatabaseLedger(workspace, job_id=job_id) as two:
        asyncio.run(asyncio.wait_for(both(one, two), timeout=60))


def test_a_call_that_nobody_waits_for_any_more_does_not_keep_others_waiting(any_workspace: Workspace) -> None:
    """A reservation whose event loop is gone is renewed for ever, and the reply can never be bought again."""
    clock = Clock()
    workspace = with_clock(any_workspace, clock)
    job_id = make_job(workspace)

    async def forget(ledger: DatabaseLedger) -> None:
        await begin(ledger, "same")

    async def ask(ledger: DatabaseLedger) -> None:
        clock.pass_minutes(60)
        await begin(ledger, "same")

    with DatabaseLedger(workspace, job_id=job_id) as ledger:
        asyncio.run(forget(ledger))
        asyncio.run(asyncio.wait_for(ask(ledger), timeout=30))
    assert spent(workspace, job_id) == (2_000, 2_000)


def test_all_workers_together_keep_the_number_of_calls_under_way(any_workspace: Workspace) -> None:
    """Each worker keeps the limit, and together they are twice as many as the server allows."""
    job_id = make_job(any_workspace)
    active, most, by_ledger = 0, 0, {True: 0, False: 0}

    async def call(ledger: DatabaseLedger, *, first: bool) -> None:
        nonlocal active, most
        async with ledger.place():
            active += 1
            most = max(most, active)
            by_ledger[first] += 1
            await asyncio.sleep(0.05)
            active -= 1

    async def both(one: DatabaseLedger, two: DatabaseLedger) -> None:
        for ledger in (one, two):
            await ledger.abandon(await begin(ledger, f"start {ledger is one}"), may_have_cost=False)
        await asyncio.gather(*(call(ledger, first=ledger is one) for ledger in (one, two) for _ in range(60)))

    with (
        DatabaseLedger(any_workspace, job_id=job_id, concurrency=4) as one,
        DatabaseLedger(any_workspace, job_id=job_id, concurrency=4) as two,
    ):
        asyncio.run(asyncio.wait_for(both(one, two), timeout=60))
    assert most <= 4
    assert by_ledger == {True: 60, False: 60}


def test_requests_a_minute_are_kept_over_all_workers(any_workspace: Workspace) -> None:
    """Two workers send twice what the account allows in a minute."""
    clock = Clock()
    workspace = with_clock(any_workspace, clock)
    job_id = make_job(workspace)

    async def both(one: DatabaseLedger, two: DatabaseLedger) -> None:
        await begin(one, "a")
        asking = asyncio.create_task(begin(two, "b"))
        await asyncio.sleep(0.3)
        assert not asking.done()
        clock.pass_minutes(1 / 30)
        assert (await asking).key == "b"

    with (
        DatabaseLedger(workspace, job_id=job_id, requests_per_minute=30) as one,
        DatabaseLedger(workspace, job_id=job_id, requests_per_minute=30) as two,
    ):
        asyncio.run(asyncio.wait_for(both(one, two), timeout=30))


def test_giving_up_while_waiting_reserves_nothing(any_workspace: Workspace) -> None:
    """A cancelled job leaves reservations behind for calls that nobody ever makes."""
    job_id = make_job(any_workspace, token_cap=1_500)

    async def give_up(ledger: DatabaseLedger) -> None:
        first = await begin(ledger, "a")
        second = asyncio.create_task(begin(ledger, "b"))
        await asyncio.sleep(0.1)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await ledger.settle(first, REPLY, cost_usd=None)
        third = asyncio.create_task(begin(ledger, "c"))
        await asyncio.sleep(0)
        third.cancel()  # granted or not in this very moment: either way nothing stays behind
        await asyncio.gather(third, return_exceptions=True)

    in_ledger(any_workspace, job_id, give_up)
    assert spent(any_workspace, job_id) == (USED, USED)


def test_one_operation_that_the_database_refuses_takes_no_other_with_it(any_workspace: Workspace) -> None:
    """One odd reply makes the replies that share its commit fail too, and they were paid for."""
    job_id = make_job(any_workspace)

    async def settle_both(ledger: DatabaseLedger) -> None:
        good, bad = await asyncio.gather(begin(ledger, "good"), begin(ledger, "bad"))
        odd = replace(bad, key=None)  # type: ignore[arg-type]
        results = await asyncio.gather(
            ledger.settle(good, REPLY, cost_usd=None), ledger.settle(odd, REPLY, cost_usd=None), return_exceptions=True
        )
        assert results[0] is None
        assert isinstance(results[1], Exception)

    in_ledger(any_workspace, job_id, settle_both)
    with any_workspace.sessions.read() as session:
        assert session.scalars(sa.select(ReplyCacheEntry.key)).all() == ["good"]
    assert spent(any_workspace, job_id) == (USED + 1_000, USED + 1_000)


def test_a_model_name_that_no_database_takes_loses_no_reply(any_workspace: Workspace) -> None:
    """A hostile server names its model so that the reply cannot be stored, and it is bought again for ever."""
    job_id = make_job(any_workspace)

    async def buy(ledger: DatabaseLedger) -> None:
        hostile = replace(REPLY, model="m\0\ud800" * 500)
        await ledger.settle(await begin(ledger, "k"), hostile, cost_usd=None)
        assert await ledger.begin("k", worst_tokens=1, worst_cost_usd=None) == hostile

    in_ledger(any_workspace, job_id, buy)
