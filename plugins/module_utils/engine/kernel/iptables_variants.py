# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The iptables programs of this host, of both kinds, and what they list: those of nftables, and the older ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List

from ..errors import ApplyError
from . import disk, programs

NFT, LEGACY = "nft", "legacy"
TABLES = ("filter", "mangle", "nat", "raw", "security")

# Flush nothing, and wait for other programs that keep the tables locked, for so many seconds.
_RESTORE_OPTIONS = ["--noflush", "--wait", "60"]

_LEGACY_TABLES = {"ip": "/proc/self/net/ip_tables_names", "ip6": "/proc/self/net/ip6_tables_names"}


@dataclass(frozen=True)
class Variant:
    """One kind of iptables in one family, `ip` or `ip6`; with an empty kind, the one that the host uses."""

    kind: str
    family: str

    @property
    def name(self) -> str:
        """Of the program: `iptables-nft`, `ip6tables-legacy`, `iptables`."""
        return f"{self.family}tables-{self.kind}" if self.kind else f"{self.family}tables"

    def program(self, what: str) -> str:
        """The path of its `save` or `restore`; empty where the host has none."""
        return programs.find(f"{self.name}-{what}") or ""

    def tables(self, nft_tables: List[str]) -> List[str]:
        """The tables that stand; `nft_tables` are those of this family that nft lists."""
        if self.kind == NFT:
            return [name for name in nft_tables if name in TABLES]
        return disk.content_of(_LEGACY_TABLES[self.family]).split()

    def save(self, table: str = "") -> str:
        """What it lists of one table, or of all.

        Raises:
            ApplyError: the program failed.
        """
        return self._run("save", ["-t", table] if table else [], "")

    def restore(self, script: str) -> None:
        """Change tables without flushing any.

        Raises:
            ApplyError: the program refused.
        """
        self._run("restore", _RESTORE_OPTIONS, script)

    def _run(self, what: str, arguments: List[str], script: str) -> str:
        ran = programs.run([self.program(what), *arguments], script)
        if ran.returncode:
            raise ApplyError(f"{self.name}-{what} failed: {programs.complaint(ran)}")
        return ran.stdout


def variants() -> Iterator[Variant]:
    for kind in (NFT, LEGACY):
        for family in ("ip", "ip6"):
            yield Variant(kind, family)
