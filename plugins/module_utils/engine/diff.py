# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two states -> the ordered changes that lead from one to the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Tuple

from .state import Object, State, field_values

CREATE, UPDATE, DELETE = "create", "update", "delete"


@dataclass(frozen=True)
class Change:
    """One object of a layer that comes, goes, or becomes another."""

    before: Optional[Object]
    after: Optional[Object]
    layer: str = ""

    def __str__(self) -> str:
        return f"{self.action} {self.subject.kind} {self.subject.name} {', '.join(self.fields)}".strip()

    @property
    def subject(self) -> Object:
        """The object that this is about, as it will be, or as it was if it goes."""
        thing = self.after or self.before
        if thing is None:
            raise ValueError("a change of nothing into nothing")
        return thing

    @property
    def action(self) -> str:
        if self.before is None:
            return CREATE
        return DELETE if self.after is None else UPDATE

    @property
    def fields(self) -> Tuple[str, ...]:
        """The names of the fields that an update changes; empty for what comes or goes whole."""
        if self.action != UPDATE:
            return ()
        before, after = field_values(self.before), field_values(self.after)
        return tuple(name for name in {**after, **before} if before.get(name) != after.get(name))


def diff(current: State, desired: State, layer: str = "") -> List[Change]:
    """The changes that make the current objects of a layer the desired ones.

    What goes comes first, then what changes or comes, each in the order of the states.
    """
    gone = [Change(thing, None, layer) for key, thing in current.items() if key not in desired]
    other = [Change(current.get(key), thing, layer) for key, thing in desired.items() if current.get(key) != thing]
    return gone + other
