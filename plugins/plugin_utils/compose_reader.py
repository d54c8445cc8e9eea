# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the files of Compose projects on the controller, by the paths that users give."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..module_utils.engine.errors import ModelError, Problem, ProblemCollector
from .compose_document import Raw, read_document
from .dotenv import parse_dotenv
from .interpolation import interpolate_rest

# What Compose would fetch: Git repositories and OCI artifacts
_REMOTE = re.compile(r"[a-z]+://|git@|github\.com[:/]")


def locate(directory: str, given: str, asked_at: str) -> str:
    """The path of a file that another file names, in the form in which the first one was given.

    Raises:
        ModelError: it is a remote file, which Compose would fetch.
    """
    if _REMOTE.match(given):
        raise ModelError.at(asked_at, f'"{given}" is not on the controller; fetch it, and give its path there')
    return os.path.normpath(os.path.join(directory, given))


class FileReader:
    """Reads files, each once, and collects warnings and problems.

    Relative paths are relative to `base`. A file that cannot be read is a problem at the place `asked_at`, which names
    it. Values with problems are left out, and `left_out` has their places.
    """

    def __init__(self, base: Path, problems: ProblemCollector) -> None:
        self.warnings: list[Problem] = []
        self.left_out: list[str] = []
        self._base = base
        self._problems = problems
        self._documents: dict[str, Raw] = {}

    def document(self, path: str, asked_at: str) -> Raw:
        """The contents of a Compose file, with variables and tags."""
        if path not in self._documents:
            self._documents[path] = read_document(self._text(path, asked_at), path, self._problems)
        return self._documents[path]

    def interpolated(self, path: str, environment: Mapping[str, str], asked_at: str) -> Raw:
        """The contents of a Compose file, with variables replaced and with tags."""
        raw: Raw = {}
        for key, value in self.document(path, asked_at).items():
            interpolated = interpolate_rest(value, environment, f"{path}: {key}")
            raw[key] = interpolated.value
            self.warnings += interpolated.warnings
            self.left_out += [problem.path for problem in interpolated.problems]
            self._problems.problems += interpolated.problems
        return raw

    def environment(self, env_files: Sequence[str], given: Mapping[str, str], asked_at: str) -> dict[str, str]:
        """The variables that the files set. A later file has precedence over earlier ones, and `given` over all."""
        values: dict[str, str] = {}
        for path in env_files:
            values, warnings = parse_dotenv(self._text(path, asked_at), given, path, above=values)
            self.warnings += warnings
        return {**values, **given}

    def default_env_files(self, directory: str) -> tuple[str, ...]:
        """The folder's `.env`, if it has one."""
        path = os.path.join(directory, ".env")
        return (path,) if (self._base / path).is_file() else ()

    def _text(self, given: str, asked_at: str) -> str:
        path = self._base / given
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ModelError.at(asked_at, f"there is no file {path} on the controller") from None
        except IsADirectoryError:
            raise ModelError.at(asked_at, f"{path} is a folder; name the file in it") from None
        except OSError as error:
            raise ModelError.at(asked_at, f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ModelError.at(asked_at, f"{path} is not UTF-8 text, at byte {error.start}") from error
