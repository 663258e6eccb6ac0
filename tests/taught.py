"""Twelve questions with answers worded unlike them and hard negatives worded alike: untaught models get them wrong."""

from pathlib import Path

import numpy as np

from retriever.encoder import Encoder
from retriever.types import GradedList, LabelledPassage

PAIRS = [
    ("what do cats like", "felines enjoy warm sofas", "what do cats like is a title"),
    ("why does bread rise", "yeast gives off gas in dough", "why does bread rise is a poem"),
    ("what do planes need", "long runways of concrete", "what do planes need is a quiz"),
    ("what moves the tides", "lunar gravity pulls the sea", "what moves the tides is a song"),
    ("who makes honey", "bees do, from nectar", "who makes honey is a film"),
    ("what comes out of volcanoes", "molten rock and ash", "what comes out of volcanoes is a play"),
    ("what is glass made of", "sand melted with soda", "what is glass made of is a book"),
    ("what is rust", "iron that met oxygen and water", "what is rust is a riddle"),
    ("how do wolves hunt", "in packs, at dawn", "how do wolves hunt is a game"),
    ("what is in coffee", "caffeine, mostly", "what is in coffee is a blog"),
    ("what is opera", "drama that is sung", "what is opera is a talk"),
    ("what carves valleys", "rivers, over ages", "what carves valleys is a chapter"),
]


def graded_lists(*, good: float = 3, bad: float = 0) -> list[GradedList]:
    """A list a question: the answer, the answer again in other words, a weak one, and the hard negative."""
    return [
        GradedList(
            query_id=f"q{at}",
            query=query,
            passages=(
                LabelledPassage(f"good{at}", answer, good),
                LabelledPassage(f"also{at}", f"some say: {answer}", min(good, 2)),
                LabelledPassage(f"weak{at}", f"{query}, and {answer}", 1),
                LabelledPassage(f"bad{at}", trap, bad),
            ),
        )
        for at, (query, answer, trap) in enumerate(PAIRS)
    ]


def all_texts() -> list[str]:
    return [text for graded in graded_lists() for text in (graded.query, *(each.text for each in graded.passages))]


def in_right_order(model: Path) -> int:
    """Questions whose answer scores above its hard negative, of 12."""
    encoder = Encoder.load(model)
    queries, good, bad = (encoder.encode([pair[column] for pair in PAIRS]) for column in range(3))
    return int(np.sum(np.sum(queries * good, axis=1) > np.sum(queries * bad, axis=1)))
