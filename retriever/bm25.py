"""Lexical search with BM25 (bm25s), and the terms it sees in a text. No torch here."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import bm25s
import numpy as np
from bm25s.stopwords import STOPWORDS_EN
from numpy.typing import NDArray

from retriever.errors import IndexMismatch
from retriever.index_files import META_NAME, IndexMeta, read_index_files, write_index_files
from retriever.types import Hit, Passage

KIND = "bm25"
_WORD = re.compile(r"\b\w\w+\b")
_STOPWORDS = frozenset(STOPWORDS_EN)


def content_terms(text: str) -> list[str]:
    """The terms BM25 sees in a text, in order, repeats kept: lower-case words of two letters or more, no stopwords."""
    return [word for word in _WORD.findall(text.lower()) if word not in _STOPWORDS]


def term_overlap(query: str, passage: str) -> float:
    """Share of the query's distinct content terms that occur in the passage, in [0, 1]; 0 for a query without any."""
    wanted = set(content_terms(query))
    return len(wanted & set(content_terms(passage))) / len(wanted) if wanted else 0.0


class BM25Index:
    """An opened index; `build` writes one, `open` opens one.

    Source: Robertson & Zaragoza 2009 (BM25), in the variant of Lucene with k1 = 1.5, b = 0.75 (bm25s's defaults).
    """

    def __init__(self, scorer: bm25s.BM25 | None, passage_ids: tuple[str, ...]) -> None:
        self._scorer = scorer
        self._passage_ids = passage_ids

    @classmethod
    def build(cls, directory: Path, passages: Iterable[Passage]) -> Self:
        """Writes an index over title and text and opens it. Memory: ids and term numbers, never all the texts.

        Raises: IndexMismatch when a passage id occurs twice.
        """
        directory.mkdir(parents=True, exist_ok=True)
        (directory / META_NAME).unlink(missing_ok=True)  # the old index must not vouch for new files
        vocabulary: dict[str, int] = {}
        passage_ids: list[str] = []
        terms: list[list[int]] = []
        for passage in passages:
            passage_ids.append(passage.id)
            terms.append([vocabulary.setdefault(term, len(vocabulary)) for term in content_terms(passage.full_text)])
        if vocabulary:
            scorer = bm25s.BM25()
            scorer.index(bm25s.tokenization.Tokenized(ids=terms, vocab=vocabulary), show_progress=False)
            scorer.save(directory, show_progress=False)
        source = "terms" if vocabulary else "no terms"
        write_index_files(
            directory, meta=IndexMeta(kind=KIND, n=len(passage_ids), source=source), passage_ids=passage_ids
        )
        return cls.open(directory)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The index of a folder, its scores memory-mapped. Raises: IndexMismatch when it holds no whole index."""
        meta, passage_ids = read_index_files(directory, kinds=(KIND,))
        if meta.source == "no terms":
            return cls(None, passage_ids)
        try:
            scorer = bm25s.BM25.load(directory, mmap=True, load_corpus=False, show_progress=False)
        except (OSError, ValueError, KeyError) as exc:
            raise IndexMismatch(
                f"the index in {directory} cannot be read ({exc}): build it again",
                user_message="The search index is damaged. Build it again.",
            ) from exc
        if scorer.scores["num_docs"] != meta.n:
            raise IndexMismatch(
                f"{directory} names {meta.n} passages but scores {scorer.scores['num_docs']}: build it again"
            )
        return cls(scorer, passage_ids)

    @property
    def n(self) -> int:
        """Number of passages."""
        return len(self._passage_ids)

    @property
    def passage_ids(self) -> tuple[str, ...]:
        """Ids in the order they were indexed."""
        return self._passage_ids

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the k best passages, best first; passages that share no term with it never appear.

        Equal scores keep the order of the index. Raises: ValueError for k below 1.
        """
        if k < 1:
            raise ValueError(f"k is {k}; it must be 1 or more")
        return [self._search_one(query, k) for query in queries]

    def _search_one(self, query: str, k: int) -> list[Hit]:
        if self._scorer is None:
            return []
        known = self._scorer.get_tokens_ids(content_terms(query))
        if not known:
            return []
        scores: NDArray[np.float32] = self._scorer.get_scores_from_ids(known)
        positions = np.flatnonzero(scores > 0)
        if len(positions) > k:
            # Keep every passage tied with the k-th, or which of them stays would be left to chance.
            at_least = np.partition(scores[positions], -k)[-k]
            positions = positions[scores[positions] >= at_least]
        order = positions[np.argsort(-scores[positions], kind="stable")][:k]
        return [
            Hit(passage_id=self._passage_ids[position], rank=rank, score=float(scores[position]))
            for rank, position in enumerate(order.tolist(), start=1)
        ]
