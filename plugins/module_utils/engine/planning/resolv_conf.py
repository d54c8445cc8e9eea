# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsing a `resolv.conf` as resolv.conf(5) describes it."""

from __future__ import annotations

from typing import List

from ..declaration.section import is_address


class ResolvConf:
    """The settings of a `resolv.conf`. Of several `search` and `domain` lines the last one counts."""

    def __init__(self, content: str) -> None:
        self.nameservers: List[str] = []
        self.search: List[str] = []
        self.options: List[str] = []
        for line in content.splitlines():
            words = line.split()
            if len(words) < 2 or words[0][0] in "#;":
                continue
            if words[0] == "nameserver" and is_address(words[1].partition("%")[0]):
                self.nameservers.append(words[1])
            elif words[0] in ("search", "domain"):
                self.search = words[1:]
            elif words[0] == "options":
                self.options += words[1:]
