# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger's entries of containers' kernel parameters say."""

from __future__ import annotations

from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links import parameters
from ansible_collections.wharf.network.plugins.module_utils.engine.state import PATH, Sandbox, SandboxRef, state_of

ODD = Sandbox(SandboxRef(PATH, "/run/my box"), "odd", sysctls=(("net.core.somaxconn", "9"),))
FOUND = {
    "net.ipv4.ip_forward": "0",
    "/etc/netns": "absent",
    "sandbox path:/run/my box net.core.somaxconn": "4096",
    "sandbox path:/run/my box net.ipv4.tcp_syncookies": "1",
    "endpoint web/front ipv6.accept_ra": "",
}


def test_entries_are_distinguished_from_what_else_was_found() -> None:
    name = parameters.entry(ODD, "net.core.somaxconn")
    assert name in FOUND
    known = parameters.by_name(FOUND, "sandbox")
    assert known == {ODD.name: {"net.core.somaxconn": "4096", "net.ipv4.tcp_syncookies": "1"}}
    assert parameters.undeclared(known[ODD.name], ODD.sysctls) == (("net.ipv4.tcp_syncookies", "1"),)


def test_what_no_state_has_is_released() -> None:
    syncookies, accept_ra = "sandbox path:/run/my box net.ipv4.tcp_syncookies", "endpoint web/front ipv6.accept_ra"
    assert parameters.released(FOUND, "sandbox", frozenset(), state_of([ODD]), {}) == [syncookies]
    assert parameters.released(FOUND, "sandbox", frozenset([ODD.key]), {}, {}) == []
    assert parameters.released(FOUND, "endpoint", frozenset(), state_of([ODD]), {}) == [accept_ra]
