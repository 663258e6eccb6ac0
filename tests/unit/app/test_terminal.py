"""What reaches the terminal."""

from __future__ import annotations

import pytest

from app.terminal import harmless, print_table, tell


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


@pytest.mark.parametrize(
    "hostile", [r"\[link=https://evil.example/x]click", r"good \[/x] judge", "[red]a[/red]", "[/]"]
)
def test_markup_in_a_cell_a_title_or_a_line_is_shown_as_it_was_written(
    hostile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a judge's or a passage's name from becoming a link on the terminal, or from ending the command."""
    print_table(["name"], [[hostile]], title=hostile)
    tell(hostile)
    shown = capsys.readouterr().out
    assert shown.count(hostile) == 3
    assert "\x1b]8" not in shown
