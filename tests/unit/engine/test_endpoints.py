# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Endpoints in sandboxes that cannot be read."""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Iterator
from unittest.mock import Mock

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.diff import diff
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import ApplyError
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import namespaces, netlink, rtnetlink
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.rtnetlink import LinkInfo
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links import stacks
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links.endpoints import Endpoints
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.links.stacks import LOOPBACK_INDEX, Stack
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
    web, db = endpoint("web"), endpoint("db")
    monkeypatch.setattr(f"{Endpoints.__module__}.is_awaited", lambda _sandbox: False)
    reader = Mock(
        host=Mock(links=[]), read=lambda _refs: {each.sandbox: stack(stable=each is not web) for each in (web, db)}
    )
    resource = Endpoints({}, declared={("web", "front"): "eth0"}, stacks=reader)
    assert resource.observe(state_of([web, db]), frozenset()).pending == {
        web.key: "web/front is pending: the links and addresses in /run/web keep changing while they "
        "are read: stop the program that changes them"
    }


def stack(stable: bool) -> Stack:
    return Stack((4, 4711), 7, [LinkInfo(LOOPBACK_INDEX, "lo", "", 65536, up=True)], [], [], stable)


def test_a_stack_that_keeps_changing_has_only_its_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink.Connection, "_received_whole", lambda *_arguments: False)
    with netlink.Connection(socket.NETLINK_ROUTE) as host, namespaces.opened(namespaces.OWN) as descriptor:
        read = stacks.read_open(descriptor, host, descriptor, lambda _descriptor: None)
    assert not read.stable
    assert (read.loopback.name, read.addresses, read.routes) == ("lo", [], [])


def test_each_stack_is_looked_for_from_the_hosts_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere, /proc/self/ns/net would be a container's stack."""
    inside: list[bool] = []
    looked_for_inside: list[bool] = []

    @contextmanager
    def visiting() -> Iterator[Mock]:
        inside.append(True)
        yield Mock()
        inside.pop()

    def path(sandbox: SandboxRef) -> str:
        looked_for_inside.append(bool(inside))
        return sandbox.name

    monkeypatch.setattr(stacks, "sandbox_path", path)
    monkeypatch.setattr(namespaces, "visiting", visiting)
    monkeypatch.setattr(namespaces, "is_namespace", lambda _path: True)
    monkeypatch.setattr(namespaces, "identity", lambda path: path)
    monkeypatch.setattr(namespaces, "opened", lambda _path: nullcontext(0))
    monkeypatch.setattr(stacks, "read_open", lambda *_arguments: stack(stable=bool(inside)))
    read = stacks.StackReader().read(SandboxRef(PATH, f"/run/{name}") for name in "ab")
    assert [each.stable for each in read.values()] == [True, True]
    assert looked_for_inside == [False, False]


def test_a_stack_is_read_once_by_whatever_names_and_anew_when_it_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives a stack its number with the first veth that leads into it."""
    names = [SandboxRef(PATH, f"/run/{name}") for name in ("web", "web-again", "db")]
    found = dict.fromkeys(names[:2], replace(stack(stable=True), number=-1))
    found[names[2]] = replace(stack(stable=True), identity=(4, 4712))
    read: list[int] = []
    paths = [name.name for name in names]
    monkeypatch.setattr(namespaces, "is_namespace", paths.__contains__)
    monkeypatch.setattr(namespaces, "identity", lambda path: path in paths and found[names[paths.index(path)]].identity)
    monkeypatch.setattr(namespaces, "opened", lambda path: nullcontext(paths.index(path) if path in paths else -1))
    monkeypatch.setattr(namespaces, "visiting", lambda: nullcontext(None))
    monkeypatch.setattr(stacks, "read_open", lambda at, *_rest: read.append(at) or found[names[at]])
    reader = stacks.StackReader()
    reader.read(names)
    reader.forget(names[:1])
    reader.read(names)
    reader.forget([], {7})
    reader.read(names)
    assert read == [0, 2, 0, 2]


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


def test_what_keeps_changing_is_reported_by_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink.Connection, "_received_whole", lambda *_arguments: False)
    with pytest.raises(BlockingIOError) as error:
        rtnetlink.addresses()
    assert error.value.errno == errno.EAGAIN
