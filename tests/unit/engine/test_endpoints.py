# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints in sandboxes that cannot be read."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.diff import diff
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ApplyError
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import netlink, rtnetlink
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links import endpoint_ends
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links.endpoints import Endpoints
from ansible_collections.wharf.network.plugins.module_utils.engine.state import (
    PATH,
    Endpoint,
    Port,
    SandboxRef,
    state_of,
)


def endpoint(container: str) -> Endpoint:
    return Endpoint(
        container,
        "front",
        SandboxRef(PATH, f"/run/{container}"),
        "eth0",
        f"veth{container}",
        Port("br-front"),
        1500,
        "02::1",
        (),
    )


def test_a_container_that_keeps_changing_is_pending_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says of each of its lists that it is not whole."""

    def look_inside(path: str) -> Any:
        if path == "/run/web":
            return netlink.dump(0, 0, b"")
        return endpoint_ends.SandboxSnapshot(7, False, [], [], [])

    monkeypatch.setattr(netlink.Connection, "_received_whole", lambda *_arguments: False)
    monkeypatch.setattr(rtnetlink, "links", list)
    monkeypatch.setattr(endpoint_ends, "is_present", lambda _sandbox: True)
    monkeypatch.setattr(endpoint_ends, "_look_inside", look_inside)
    monkeypatch.setattr(f"{Endpoints.__module__}.is_awaited", lambda _sandbox: False)
    web, db = endpoint("web"), endpoint("db")
    resource = Endpoints({}, declared={"web/front": "eth0"})
    assert resource.observe(state_of([web, db]), frozenset()).pending == {
        web.key: "web/front is pending: what is in /run/web keeps changing while it is read: end what changes "
        "addresses or links there"
    }


@pytest.mark.parametrize("is_there", [False, True])
def test_a_veth_that_root_in_the_container_deletes_as_it_is_made(
    monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """Where it is still there, it is the host that refuses."""

    def no_such_interface(*_arguments: Any) -> None:
        raise OSError("no interface with this name")

    web = endpoint("web")
    module = Endpoints.__module__
    monkeypatch.setattr(f"{module}.Rtnetlink", lambda: nullcontext(Mock()))
    monkeypatch.setattr(f"{module}.conntrack.forget_addresses", lambda _addresses: None)
    monkeypatch.setattr(f"{module}.announce.packet_sockets", nullcontext)
    monkeypatch.setattr(f"{module}.rtnetlink.links", list)
    monkeypatch.setattr(f"{module}._create", lambda *_arguments: None)
    monkeypatch.setattr(f"{module}._set_port", no_such_interface)
    monkeypatch.setattr(f"{module}.socket.if_nameindex", lambda: [(1, web.host_interface)] if is_there else [])
    resource = Endpoints({})
    if is_there:
        with pytest.raises(ApplyError, match="no interface with this name"):
            resource.apply(diff({}, state_of([web])))
    else:
        refused = resource.apply(diff({}, state_of([web])))
        assert "the veth was deleted from inside of the container" in refused[web.key]


def test_what_keeps_changing_is_told_by_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink.Connection, "_received_whole", lambda *_arguments: False)
    with pytest.raises(BlockingIOError) as error:
        rtnetlink.addresses()
    assert error.value.errno == errno.EAGAIN
