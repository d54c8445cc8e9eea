# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, named by who must act."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterator, Type

if TYPE_CHECKING:
    from typing_extensions import Self


class WharfError(Exception):
    """Any error that the engine raises on purpose."""


def is_within(path: str, outer: str) -> bool:
    """Whether the path leads to the value at the outer path, or to a part of that value."""
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: its path in the declaration or its name, and what would be right."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"

    def is_about(self, path: str) -> bool:
        """Whether it is the value at the path that is wrong, or one that this value is a part of."""
        return is_within(path, self.path)


class ProblemsError(WharfError):
    """Somebody must act; carries every problem found."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    @classmethod
    def at(cls, path: str, message: str) -> Self:
        return cls(Problem(path, message))


class ModelError(ProblemsError):
    """The user must act: what is declared cannot be."""


class ConflictError(ProblemsError):
    """The admin must act: a third-party object is in the way, or the host lacks something."""


class ApplyError(WharfError):
    """The kernel, or a program, refused a change."""


class VerifyError(WharfError):
    """wharf.network is at fault: a change was applied without complaint and yet the host differs from the plan, or an
    error came up that nobody foresaw.
    """


def message_of(error: Exception) -> str:
    """What an error says; of one that nobody foresaw, also where it came up."""
    if isinstance(error, (WharfError, OSError)):
        return str(error)
    # Imported only then: it takes time.
    import traceback

    at = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} in {at.name}, line {at.lineno} of {at.filename.rpartition('/')[2]}"
    return f"wharf.network is at fault, please report it ({where}: {error})"


class ProblemCollector:
    """Gathers the problems of many parts, so that one report names them all."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Run the block; keep the problems it raises and go on after it."""
        try:
            yield
        except ProblemsError as error:
            self.problems.extend(error.problems)

    def raise_if_any(self, error: Type[ProblemsError] = ModelError) -> None:
        """
        Raises:
            ProblemsError: the given one, with all problems gathered so far, each once.
        """
        if self.problems:
            raise error(*dict.fromkeys(self.problems))
