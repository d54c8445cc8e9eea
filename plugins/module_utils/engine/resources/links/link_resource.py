# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base classes of resources that read links of the host, and of those that also make, change and delete them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Callable, FrozenSet, Generic, Mapping, Optional, Sequence, Type, TypeVar

from ...diff import Change
from ...errors import ConflictError, Problem
from ...kernel.links import delete_link, doing
from ...kernel.rtnetlink import LinkInfo
from ...kernel.rtnetlink_changes import Rtnetlink
from ...state import Key, Object
from ..resource import Resource
from .stacks import StackReader

T = TypeVar("T", bound=Object)


class LinkResource(Resource):
    """Reads links, addresses and routes by a reader that the resources of a run share, and that forgets the host's own
    stack before a resource changes anything.
    """

    def __init__(self, stacks: Optional[StackReader] = None) -> None:
        self._stacks = stacks or StackReader()


class HostLinks(LinkResource, Generic[T]):
    """Makes, changes and deletes one link of the host for each object of a type.

    `made_with` are the fields that a link has from its creation to its end. `remedies` say what to do about errors of
    the kernel, by their numbers.
    """

    type: Type[T]
    made_with: FrozenSet[str] = frozenset()
    remedies: Mapping[int, str] = MappingProxyType({})

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        self._stacks.forget()
        with Rtnetlink() as netlink:
            for change in changes:
                before, after = change.before, change.after
                if isinstance(before, self.type) and self._is_to_go(before, change):
                    self._delete(netlink, before)
                    before = None
                if isinstance(after, self.type):
                    with doing(f"{after.title}: {'changing' if before else 'creating'}", self.remedies):
                        self._make(netlink, before if isinstance(before, self.type) else None, after)
        return {}

    def _is_to_go(self, _before: T, change: Change) -> bool:
        """Whether the link is deleted, also where another one takes its place."""
        return change.after is None or not self.made_with.isdisjoint(change.fields)

    def _delete(self, netlink: Rtnetlink, thing: T) -> None:
        delete_link(netlink, thing.kind, thing.name)

    def _make(self, netlink: Rtnetlink, before: Optional[T], after: T) -> None:
        """Make the link, if there is none `before`, and what it should be.

        Raises:
            ApplyError, OSError: the kernel refused.
        """
        raise NotImplementedError

    def _refuse_third_party(
        self, wanted: Mapping[str, Object], is_managed: Callable[[LinkInfo], bool], remedy: str
    ) -> None:
        """
        Raises:
            ConflictError: a third-party link has the name of a wanted one.
        """
        links = {link.name: link for link in self._stacks.host.links}
        taken = [name for name in wanted if name in links and not is_managed(links[name])]
        if taken:
            raise ConflictError(*(third_party_link(name, wanted[name].place, remedy) for name in taken))


def third_party_link(name: str, place: str, remedy: str) -> Problem:
    return Problem(place, f"an interface {name} exists on this host that is not managed by wharf.network: {remedy}")
