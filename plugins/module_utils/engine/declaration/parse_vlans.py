# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`x-wharf.vlan` of a network or of an attachment -> the VLANs of a port of a bridge."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from ..errors import ModelError
from . import section as read
from .model import PortVlans
from .section import Section, whole_section, wrong

VLAN = "vlan"

LAST_VLAN = 4094
_vlan = read.number_from(1, LAST_VLAN, f"a VLAN is a number from 1 to {LAST_VLAN}")


def take_vlans(extension: Section) -> Optional[PortVlans]:
    """The `vlan` of an `x-wharf`."""
    extension.refuse_blank(VLAN)
    return extension.take_optional(VLAN, _vlans)


def _vlans(value: Any, path: str) -> PortVlans:
    """One number is the VLAN in which the container sends and gets frames without a tag."""
    if not isinstance(value, Mapping):
        return PortVlans(path, _vlan(value, path))
    with whole_section(value, path) as section:
        section.refuse_blank("untagged", "tagged")
        untagged = section.take_optional("untagged", _vlan)
        tagged = section.take_all("tagged", read.list_of(_vlan))
    for index, number in enumerate(tagged):
        if number == untagged or number in tagged[:index]:
            raise wrong(f"{path}.tagged[{index}]", number, "is named twice: leave one of the two out")
    if untagged is None and not tagged:
        raise ModelError.at(path, "names no VLAN: give it untagged (a number), tagged (a list of numbers), or both")
    return PortVlans(path, untagged or 0, tuple(sorted(tagged)))
