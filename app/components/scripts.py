"""Which language's letters a text is written in, so that the browser picks the right forms, breaks and spacing."""

from __future__ import annotations

import re

_LOOKED_AT = 400  # characters; the beginning of a text tells
_SCRIPTS = (
    ("ja", re.compile("[\u3041-\u3096\u30a1-\u30fa]"), 0.05),  # kana: Japanese also where most signs are Chinese
    ("ko", re.compile("[\uac00-\ud7a3\u1100-\u11ff]"), 0.2),
    ("zh", re.compile("[\u4e00-\u9fff\u3400-\u4dbf]"), 0.2),
    ("ar", re.compile("[\u0600-\u06ff\u0750-\u077f]"), 0.3),
    ("he", re.compile("[\u0590-\u05ff]"), 0.3),
)


def language_of(text: str) -> str | None:
    """The language to tell the browser of: ja, ko, zh, ar or he; None for all others, which read well without.

    A script counts from a certain share of the letters at the beginning on. It tells fonts and line breaks, no more:
    Persian is told as ar, for its letters are drawn by the same fonts. Our choice.
    """
    start = text[:_LOOKED_AT]
    if start.isascii():
        return None
    letters = "".join(filter(str.isalpha, start))
    for language, script, share in _SCRIPTS:
        if letters and len(script.findall(letters)) >= share * len(letters):
            return language
    return None


def written_in(text: str) -> str:
    """The attributes of an element that holds the text: its direction, and its language where that helps."""
    language = language_of(text)
    return 'dir="auto"' if language is None else f'dir="auto" lang="{language}"'
