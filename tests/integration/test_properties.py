# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From any declaration to any other: the host becomes what it would have become had it never had the former.

Check mode predicts each time exactly what is then done, and a second run does nothing.

`WHARF_EXAMPLES` is the number of random pairs, and more than usual are also shrunk where they fail.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from declarations import declarations, prepare, trying
from host_state import assert_same, host_state
from hosts import ABSENT, EXACT, ThrowawayHost
from hypothesis import given

# Who has one keeps it, as with all that is allotted, but here it cannot be declared.
_RESOLVERS_PORT = re.compile(r"\b20[0-5]\d\d\b")


@pytest.fixture(scope="module")
def host() -> Iterator[ThrowawayHost]:
    """A host on which something once was: what lasts of that is no difference."""
    with ThrowawayHost.started() as host:
        prepare(host)
        for backend in ("iptables", "nftables"):
            words = {"networks": {"n1": {"enable_ipv6": True}}, "containers": {"c1": {}}}
            host.apply({"host": {"firewall-backend": backend}, **words})
        host.apply({}, ABSENT)
        yield host


@trying(10)
@given(former=declarations(), latter=declarations())
def test_a_host_forgets_what_was_declared_before(host: ThrowawayHost, former: Any, latter: Any) -> None:
    nothing = host_state(host)
    try:
        host.converge(former, EXACT)
        host.converge(latter, EXACT)
        found = kept(host)
        host.apply({}, ABSENT)
        assert_same(nothing, lambda: host_state(host))
        host.converge(latter, EXACT)
        assert_same(found, lambda: kept(host))
    finally:
        host.apply({}, ABSENT)
    assert_same(nothing, lambda: host_state(host))


@trying(10)
@given(former=declarations(), latter=declarations())
def test_a_lost_ledger_is_made_again_of_what_stands(host: ThrowawayHost, former: Any, latter: Any) -> None:
    """Former declarations leave their choices: what a new host would choose is something else."""
    nothing = host_state(host)
    try:
        host.apply(former, EXACT)
        host.apply(latter, EXACT)
        found = kept(host)
        host.run("mv /var/lib/wharf /run/kept")
        host.engine(["recover", "-"], host._given(latter, EXACT)[1])
        assert host.apply(latter, EXACT).changes == []
        assert_same(found, lambda: kept(host))
    finally:
        # What there was before cannot be found again.
        host.run("[ ! -e /run/kept ] || { rm -rf /var/lib/wharf; mv /run/kept /var/lib/wharf; }")
        host.apply({}, ABSENT)
    assert_same(nothing, lambda: host_state(host))


def kept(host: ThrowawayHost) -> dict[str, Any]:
    """The state of the host, but for the ledger, which knows more."""
    lasting = {key: value for key, value in host_state(host).items() if not key.startswith("/var/lib/")}
    return {key: _RESOLVERS_PORT.sub("PORT", each) if isinstance(each, str) else each for key, each in lasting.items()}
