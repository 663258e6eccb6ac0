"""Is a query adapter live within 15 s of the click, better on seen queries, and never below the live model on unseen?

From 10,000 labelled pairs of msrd, by query as in production (same films, new queries), the adapter is trained with its
defaults, saved, opened beside the encoder and asked once; then judged on test queries, the seen (some relevant passage
of theirs was trained on) and the unseen apart. scifact's labels, and both disjoint splits where no test query is seen,
beside it. A full run fine-tunes the encoder on the same labels too, to say which share of its gain the adapter reaches.
The defaults were chosen on training-side splits (docs/training.md); nothing here chooses.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.config import settings_from
from bench.public_data import by_query, read_passages, read_qrels, read_queries
from bench.result import Json, Result
from bench.retrieval_pools import ModelVersion, Vectors, base_model, encode
from bench.self_label_sets import SHIPPED
from retriever.types import (
    AdapterSettings,
    Comparison,
    Evaluation,
    GradedList,
    Hit,
    LabelledPassage,
    TrainingReport,
    TrainingStage,
)

PAIRS = 10_000
SECONDS = 15.0
UNSEEN_MAY_FALL = 0.005
SEED = 5
MEASURE = "nDCG@10"
QUICK_PASSAGES = 1_500
QUICK_TESTED = 300
TARGET = (
    f"{PAIRS:,} labelled pairs of msrd to the first answer of the new model in at most {SECONDS:g} s (encoding the "
    "labelled queries, training, saving, opening, one search; the median of the repeats); and on test queries of "
    f"every set the 95 % bootstrap interval of the {MEASURE} difference to the live model lies above 0 on seen, and "
    f"on unseen it is not wholly below 0 and the mean is at least {-UNSEEN_MAY_FALL}"
)

Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class _Set:
    """Labels to train on, and judged queries to measure on; vectors are the shipped model's."""

    name: str
    texts: Mapping[str, str]
    queries: Mapping[str, str]
    lists: tuple[GradedList, ...]
    judged: Qrels
    shipped: ModelVersion
    max_length: int

    @property
    def pairs(self) -> int:
        return sum(len(entry.passages) for entry in self.lists)

    def seen(self) -> set[str]:
        """The judged queries with a relevant passage that was trained on."""
        trained = {label.passage_id for entry in self.lists for label in entry.passages if label.grade >= 1}
        return {
            query
            for query, grades in self.judged.items()
            if any(grade >= 1 and passage in trained for passage, grade in grades.items())
        }


@dataclass(frozen=True, slots=True)
class _Seconds:
    """One way from the click to the first answer, in parts; processor: seconds of all cores together."""

    encode_queries: float
    train_and_save: float
    open: float
    first_search: float
    processor: float

    @property
    def total(self) -> float:
        return self.encode_queries + self.train_and_save + self.open + self.first_search


def run(quick: bool) -> Result:
    """Full: both sets and their disjoint splits, three repeats, a full fine-tune beside; quick: two small sets."""
    figures: dict[str, Json] = {}
    lines: list[str] = []
    holds = True
    for name in ("msrd", "scifact") if quick else ("msrd", "scifact", "msrd_disjoint", "scifact_disjoint"):
        chosen = _open(name, quick=quick)
        timed = name == "msrd"
        comparison, seconds, report = _adapter(chosen, repeats=(2 if quick else 3) if timed else 1)
        usual = sorted(seconds, key=lambda one: one.total)[len(seconds) // 2]
        slices = {kind: found[MEASURE] for kind, found in comparison.slices.items() if kind in ("seen", "unseen")}
        holds = holds and all(
            found.low > 0 if kind == "seen" else found.high >= 0 and found.mean >= -UNSEEN_MAY_FALL
            for kind, found in slices.items()
        )
        holds = holds and (not timed or usual.total <= SECONDS)
        own: dict[str, Json] = {
            "labelled_pairs": chosen.pairs,
            "labelled_queries": len(chosen.lists),
            "passages": len(chosen.texts),
            "live": comparison.baseline.measures[MEASURE],
            "adapter": comparison.candidate.measures[MEASURE],
            "seconds": {
                "total": usual.total,
                "encode_queries": usual.encode_queries,
                "train_and_save": usual.train_and_save,
                "open": usual.open,
                "first_search": usual.first_search,
                "processor": usual.processor,
                "repeats": [one.total for one in seconds],
            },
            "chosen": {"keep": report.keep, "steps": report.steps, **report.unseen},
            **{
                kind: {"queries": found.n, "difference": found.mean, "low": found.low, "high": found.high}
                for kind, found in slices.items()
            },
        }
        lines.append(
            f"{name:<16} {chosen.pairs:,} pairs, {len(chosen.lists):,} queries: live after {usual.total:.1f} s "
            f"(encode {usual.encode_queries:.1f}, train {usual.train_and_save:.1f}, open {usual.open:.1f}, "
            f"search {usual.first_search:.2f}; {usual.processor:.1f} s of processor)"
        )
        lines += [
            f"{'':<16} {kind:<6} {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] on {found.n} test queries"
            for kind, found in slices.items()
        ]
        if not quick and not name.endswith("_disjoint"):
            full, full_seconds = _fine_tuned(chosen)
            gains = {kind: found[MEASURE] for kind, found in full.slices.items() if kind in slices}
            share = slices["seen"].mean / gains["seen"].mean if gains["seen"].mean > 0 else None
            own["full_fine_tune"] = {
                "seconds": full_seconds,
                **{
                    kind: {"difference": found.mean, "low": found.low, "high": found.high}
                    for kind, found in gains.items()
                },
            }
            own["share_of_full_gain_on_seen"] = share
            lines += [
                f"{'':<16} full   {kind:<6} {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
                for kind, found in gains.items()
            ]
            said = "it gained nothing" if share is None else f"the adapter reaches {share:.0%} of its gain on seen"
            lines.append(f"{'':<16} full fine-tune: {full_seconds:.0f} s with encoding all passages; {said}")
        figures[name] = own
    if quick:
        lines.append("a quick run takes part of the passages and leaves the full fine-tune, and the share of it, out")
    return Result(name="adapter", holds=holds, target=TARGET, figures=figures, lines=tuple(lines))


def _open(name: str, *, quick: bool) -> _Set:
    data, _, disjoint = name.partition("_")
    ending = f"_{disjoint}" if disjoint else ""
    texts, queries = read_passages(data), read_queries(data)
    train, test = by_query(read_qrels(data, f"train{ending}")), by_query(read_qrels(data, f"test{ending}"))
    max_length = 256
    if quick:
        max_length = 128
        texts = _part(texts, train, test)
        train, test = (_inside(grades, texts) for grades in (train, test))
    train = {query: grades for query, grades in train.items() if query not in test}
    order = np.random.default_rng(SEED).permutation(sorted(train)).tolist()
    lists, pairs = [], 0
    for query in order:
        if pairs >= PAIRS:
            break
        passages = tuple(
            LabelledPassage(passage, texts[passage], float(grade)) for passage, grade in train[query].items()
        )
        pairs += len(passages)
        lists.append(GradedList(query, queries[query], passages))
    if quick:
        tested = np.random.default_rng(SEED).permutation(sorted(test)).tolist()[:QUICK_TESTED]
        test = {query: test[query] for query in tested}
        queries = {query: queries[query] for query in (*(entry.query_id for entry in lists), *test)}
    shipped = encode(base_model(), passages=texts, queries=queries, max_length=max_length, version=SHIPPED)
    return _Set(name, texts, queries, tuple(lists), test, shipped, max_length)


def _part(texts: Mapping[str, str], train: Qrels, test: Qrels) -> dict[str, str]:
    """The passages judged most often in the two splits, up to QUICK_PASSAGES, and others to fill up."""
    often = Counter(passage for split in (train, test) for grades in split.values() for passage in grades)
    kept = [passage for passage, _ in often.most_common(QUICK_PASSAGES)]
    kept += [passage for passage in texts if passage not in often][: QUICK_PASSAGES - len(kept)]
    return {passage: texts[passage] for passage in kept}


def _inside(judged: Qrels, texts: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """The judgements of these passages, of the queries with a relevant one among them."""
    inside = {
        query: {passage: grade for passage, grade in grades.items() if passage in texts}
        for query, grades in judged.items()
    }
    return {query: grades for query, grades in inside.items() if any(grades.values())}


def _adapter(chosen: _Set, *, repeats: int) -> tuple[Comparison, list[_Seconds], TrainingReport]:
    from retriever.adapter import QueryAdapter
    from retriever.adapter_training import train_adapter
    from retriever.dense_index import DenseIndex
    from retriever.encoder import Encoder

    seconds = []
    with tempfile.TemporaryDirectory() as scratch:
        index = DenseIndex.build(
            Path(scratch) / "index", chosen.texts, [chosen.shipped.passages], chosen.shipped.passages.shape[1]
        )
        running = Encoder.load(base_model(), max_length=chosen.max_length, device="cpu")
        running.encode_queries(["warm"])
        first = chosen.queries[next(iter(chosen.judged))]
        for repeat in range(repeats):
            folder = Path(scratch) / f"adapter{repeat}"
            clock, used = [time.perf_counter()], time.process_time()
            vectors = running.encode_queries([entry.query for entry in chosen.lists])
            clock.append(time.perf_counter())
            report = train_adapter(
                stages=[TrainingStage("labels", chosen.lists)],
                query_vectors={entry.query_id: vector for entry, vector in zip(chosen.lists, vectors, strict=True)},
                passage_ids=index.passage_ids,
                passage_vectors=index.vectors,
                settings=AdapterSettings(relevant_from=1, max_grade=1),
                output=folder,
            )
            clock.append(time.perf_counter())
            opened = Encoder.load(base_model(), max_length=chosen.max_length, device="cpu", adapter=folder)
            clock.append(time.perf_counter())
            index.search(opened.encode_queries([first]), 10)
            clock.append(time.perf_counter())
            processor = time.process_time() - used
            encoding, training, opening, search = (after - before for before, after in itertools.pairwise(clock))
            seconds.append(_Seconds(encoding, training, opening, search, processor))
        adapter = QueryAdapter.load(Path(scratch) / "adapter0")
        asked = np.stack([chosen.shipped.queries[query] for query in chosen.judged])
        evaluations = [_evaluate(chosen, index.search(vectors, 10)) for vectors in (asked, adapter.apply(asked))]
    return _compare(chosen, *evaluations), seconds, report


def _fine_tuned(chosen: _Set) -> tuple[Comparison, float]:
    """The encoder fine-tuned with its defaults on the same labels, and the seconds with encoding all passages."""
    from retriever.encoder import Encoder
    from retriever.training import train

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        train(
            base_model=base_model(),
            stages=[TrainingStage("labels", chosen.lists)],
            settings=settings_from(Path(), {"relevant_from": 1, "max_grade": 1}).full_training(),
            output=model,
        )
        encoder = Encoder.load(model, max_length=chosen.max_length, device="cpu")
        passages = encoder.encode(list(chosen.texts.values()))
        seconds = time.perf_counter() - started
        asked = encoder.encode([chosen.queries[query] for query in chosen.judged])
    live = np.stack([chosen.shipped.queries[query] for query in chosen.judged])
    evaluations = [
        _evaluate(chosen, _search(chosen, *vectors)) for vectors in ((live, chosen.shipped.passages), (asked, passages))
    ]
    return _compare(chosen, *evaluations), seconds


def _search(chosen: _Set, queries: Vectors, passages: Vectors) -> Sequence[Sequence[Hit]]:
    from retriever.dense_index import DenseIndex

    with tempfile.TemporaryDirectory() as folder:
        return DenseIndex.build(Path(folder), chosen.texts, [passages], passages.shape[1]).search(queries, 10)


def _evaluate(chosen: _Set, found: Sequence[Sequence[Hit]]) -> Evaluation:
    from retriever.evaluation import evaluate

    return evaluate(dict(zip(chosen.judged, found, strict=True)), chosen.judged, relevant_from=1, measures=(MEASURE,))


def _compare(chosen: _Set, before: Evaluation, after: Evaluation) -> Comparison:
    from retriever.evaluation import compare

    return compare(before, after, seen_query_ids=chosen.seen())
