# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all resources have in common that read links of the host."""

from __future__ import annotations

from typing import Callable, Mapping, Optional

from ...errors import ConflictError, Problem
from ...kernel.rtnetlink import LinkInfo
from ...state import Object
from ..resource import Resource
from .stacks import StackReader


class LinkResource(Resource):
    """Reads links, addresses and routes by a reader that the resources of a run share, and that forgets the host's own
    stack before a resource changes anything.
    """

    def __init__(self, stacks: Optional[StackReader] = None) -> None:
        self._stacks = stacks or StackReader()

    def _refuse_third_party(
        self, wanted: Mapping[str, Object], is_managed: Callable[[LinkInfo], bool], remedy: str
    ) -> None:
        """
        Raises:
            ConflictError: a third-party link has the name of a wanted one.
        """
        links = [link for link in self._stacks.host.links if link.name in wanted and not is_managed(link)]
        if links:
            raise ConflictError(*(third_party_link(link.name, wanted[link.name].place, remedy) for link in links))


def third_party_link(name: str, place: str, remedy: str) -> Problem:
    return Problem(place, f"an interface {name} exists on this host that is not managed by wharf.network: {remedy}")
