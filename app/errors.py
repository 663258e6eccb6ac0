"""What can go wrong in the application, and what each asks of the person.

AppError                    exit code 1
├── WorkspaceMissing        2: make one, or name the right directory
├── SettingsInvalid         2: correct the value that is named
├── InputInvalid            2: the file or argument cannot be used at all
├── InputPartlyInvalid      3: the good lines are in; the bad ones are listed
├── NothingToDo             4: a step before this one is missing
├── NotAllowed              5: needs another role, or the gate refused
└── Conflict                6: somebody else was first (card already graded, run already going)
"""

from __future__ import annotations


class AppError(Exception):
    """Root of the application's errors; `user_message` is fit for a screen, the message itself for the log."""

    exit_code = 1

    def __init__(self, message: str, *, user_message: str | None = None) -> None:
        super().__init__(message)
        self.user_message = user_message or message


class WorkspaceMissing(AppError):
    exit_code = 2


class SettingsInvalid(AppError):
    exit_code = 2


class InputInvalid(AppError):
    exit_code = 2


class InputPartlyInvalid(AppError):
    exit_code = 3


class NothingToDo(AppError):
    exit_code = 4


class NotAllowed(AppError):
    exit_code = 5


class Conflict(AppError):
    exit_code = 6
