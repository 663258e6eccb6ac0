"""What reaches the terminal."""

from __future__ import annotations

import pytest

from app.terminal import harmless


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcode, 中文\n", "plain text, ünïcode, 中文\n"),
        ("\x1b]52;c;ZXZpbA==\x07copied", "]52;c;ZXZpbA==copied"),
        ("\x1b[31mred", "[31mred"),
        ("a\u202eb", "ab"),
    ],
)
def test_a_passage_cannot_steer_the_terminal_it_is_printed_on(text: str, shown: str) -> None:
    """Prevents escape sequences in hostile texts from writing the clipboard or hiding what is printed."""
    assert harmless(text) == shown
