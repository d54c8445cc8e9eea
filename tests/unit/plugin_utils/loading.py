# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose files -> what they declare, or an error with all problems."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ProblemCollector
from ansible_collections.wharf.network.plugins.plugin_utils.compose import ComposeDeclaration, read_compose_files


def load_compose_files(items: object, base: Path) -> ComposeDeclaration:
    problems = ProblemCollector()
    read = read_compose_files(items, base, "wharf_compose_files", problems)
    problems.raise_if_any()
    return read
