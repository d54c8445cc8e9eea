# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One page of a fleet, from what was observed on its hosts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ..module_utils.engine.drawing.page import page
from ..module_utils.engine.drawing.view import HostView, view
from ..module_utils.engine.kernel.clock import in_words
from ..module_utils.engine.visible import visible

_NOT_OBSERVED = "nothing is known of this host: it was not reached, or could not be observed"


def report(hosts: Mapping[str, Any], title: str = "Container networks") -> str:
    """
    Args:
        hosts: by the name of each host what the module `network_info` returned there, which may be an error.
        title: the heading.

    Raises:
        AnsibleFilterError: it is not that.
    """
    if not isinstance(hosts, Mapping) or not all(isinstance(each, Mapping) for each in hosts.values()):
        raise AnsibleFilterError("wharf.network.report takes a dictionary of what network_info returned, by host")
    views = [_view(name, seen) for name, seen in hosts.items()]
    return page(views, f"observed {in_words(time.time())}", str(visible(title)))


def _view(name: str, seen: Mapping[str, Any]) -> HostView:
    name, seen = visible(str(name)), visible(dict(seen))
    if "networks" not in seen:
        return HostView(name, error=str(seen.get("msg") or _NOT_OBSERVED))
    return view(name, seen, seen.get("verified"))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"report": report}
