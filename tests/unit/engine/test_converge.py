# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run, with a resource to memory: what becomes of the ledger when a change is refused or the run is killed."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine import flows, host, recovery, run_lock
from ansible_collections.wharf.network.plugins.module_utils.engine import ledger as ledger_file
from ansible_collections.wharf.network.plugins.module_utils.engine.converge import Result, converge
from ansible_collections.wharf.network.plugins.module_utils.engine.declaration.declared import ABSENT, Call
from ansible_collections.wharf.network.plugins.module_utils.engine.diff import Change
from ansible_collections.wharf.network.plugins.module_utils.engine.errors import (
    ApplyError,
    ConflictError,
    ModelError,
    VerifyError,
)
from ansible_collections.wharf.network.plugins.module_utils.engine.kernel import disk
from ansible_collections.wharf.network.plugins.module_utils.engine.layers import Layer
from ansible_collections.wharf.network.plugins.module_utils.engine.ledger import Ledger
from ansible_collections.wharf.network.plugins.module_utils.engine.planning import plan
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.facts import Facts
from ansible_collections.wharf.network.plugins.module_utils.engine.planning.reach import StalePorts
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.resource import Observation, Resource
from ansible_collections.wharf.network.plugins.module_utils.engine.state import Key, State


class Killed(BaseException):
    """The run ends on the spot, as by SIGKILL."""


class Memory(Resource):
    """Holds objects instead of a kernel; `fail` is raised instead of the change to the object of that name."""

    def __init__(self) -> None:
        self.kinds = frozenset(["bridge"])
        self.there: State = {}
        self.fail: dict[str, BaseException] = {}
        self.forgetful = False

    def observe(self, desired: State, owned: frozenset[Key]) -> Observation:
        there = {key: thing for key, thing in self.there.items() if key in desired or key in owned}
        return Observation(there, desired)

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        for change in changes:
            if change.subject.name in self.fail:
                raise self.fail[change.subject.name]
            if change.after is None:
                del self.there[change.subject.key]
            elif not self.forgetful:
                # What is observed on a host does not show where it was declared.
                self.there[change.after.key] = dataclasses.replace(change.after, place="")  # type: ignore[call-arg]
        return {}

    @property
    def names(self) -> list[str]:
        return sorted(name for _kind, name in self.there)


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memory:
    monkeypatch.setattr(ledger_file, "PATH", str(tmp_path / "wharf/ledger.json"))
    monkeypatch.setattr(ledger_file.history, "PATH", str(tmp_path / "wharf/log.json"))
    monkeypatch.setattr(ledger_file.verified, "PATH", str(tmp_path / "wharf/verified.json"))
    monkeypatch.setattr(run_lock, "LOCK", str(tmp_path / "lock"))
    # Nothing is to be read of the machine, on which nothing stands.
    monkeypatch.setattr(recovery, "recover", lambda _ledger, _call, _plan: None)
    monkeypatch.setattr(host, "read_facts", lambda _ledger, _own: Facts())
    return Memory()


def run(memory: Memory, *networks: str, check: bool = False, state: str = "present", **words: Any) -> Result:
    """`words` are those of networks that have any."""
    layer = Layer("bridge", plan.bridges, lambda _ledger, _stacks: [memory])
    call = Call(networks={**dict.fromkeys(networks, {}), **words} or None, check=check, state=state)
    return converge(call, [layer])


def test_nothing_is_left_once_all_is_absent(memory: Memory) -> None:
    run(memory, "a")
    assert memory.names == ["br-a", "docker0"]
    assert Path(ledger_file.PATH).exists()
    Path(ledger_file.verified.PATH).write_text("{}", encoding="utf-8")
    run(memory, state=ABSENT)
    assert memory.names == []
    assert not Path(ledger_file.PATH).parent.exists()


def test_check_mode_writes_nothing(memory: Memory) -> None:
    assert [change.subject.name for change in run(memory, "a", check=True).changes] == ["br-a", "docker0"]
    assert memory.names == []
    assert not Path(ledger_file.PATH).exists()


def test_a_ledger_that_does_not_change_is_not_written(memory: Memory) -> None:
    run(memory, "a")
    written = Path(ledger_file.PATH).stat().st_ino
    run(memory, "a")
    assert Path(ledger_file.PATH).stat().st_ino == written


def test_an_error_that_nobody_foresaw_takes_the_whole_run_back(memory: Memory) -> None:
    run(memory, "a")
    before = Path(ledger_file.PATH).read_text(encoding="utf-8"), dict(memory.there)
    memory.fail = {"br-c": KeyError("x")}
    fault = r"^wharf.network is at fault, please report it \(KeyError in apply, line \d+ of test_converge.py: 'x'\); "
    with pytest.raises(VerifyError, match=f"{fault}all changes of this run were taken back$"):
        run(memory, "b", "c")
    assert (Path(ledger_file.PATH).read_text(encoding="utf-8"), memory.there) == before


def test_a_refused_change_takes_the_whole_run_back(memory: Memory) -> None:
    run(memory, "a")
    before = dict(memory.there)
    memory.fail["br-c"] = ApplyError("bridge br-c: creating: Operation not supported")
    with pytest.raises(ApplyError, match="^bridge br-c: creating: .*; all changes of this run were taken back$"):
        run(memory, "b", "c")
    assert memory.there == before
    assert set(Ledger.load().declared.networks) == {"a"}
    memory.fail.clear()
    run(memory, "b", "c")
    assert memory.names == ["br-a", "br-b", "br-c", "docker0"]


@pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), ConflictError.at("br-c", "not ours")])
def test_so_it_is_where_something_else_is_in_the_way(memory: Memory, error: Exception) -> None:
    run(memory, "a")
    before = dict(memory.there)
    memory.fail["br-c"] = error
    with pytest.raises(ApplyError, match="; all changes of this run were taken back$"):
        run(memory, "b", "c")
    assert memory.there == before
    assert set(Ledger.load().declared.networks) == {"a"}


def test_a_conflict_that_is_seen_afterwards_takes_the_run_back(memory: Memory) -> None:
    run(memory, "a")
    observe, before = memory.observe, dict(memory.there)

    def conflicting(desired: State, owned: frozenset[Key]) -> Observation:
        if "br-b" in memory.names and not conflicts:
            conflicts.append("br-b")
            raise ConflictError.at("br-b", "not ours")
        return observe(desired, owned)

    conflicts: list[str] = []
    memory.observe = conflicting  # type: ignore[method-assign]
    with pytest.raises(ApplyError, match="^br-b: not ours; all changes of this run were taken back$"):
        run(memory, "b")
    assert memory.there == before
    assert set(Ledger.load().declared.networks) == {"a"}


def test_flows_that_are_not_forgotten_are_left_to_the_next_run(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise ApplyError("not now")

    monkeypatch.setattr(flows, "forget", refuse)
    with pytest.raises(ApplyError, match="^not now; all changes were made, and the next run does the rest$"):
        run(memory, "a")
    assert memory.names == ["br-a", "docker0"]
    assert set(Ledger.load().declared.networks) == {"a"}


def test_what_fails_once_all_changes_are_made_says_that_they_stand(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> list[str]:
        raise KeyError("x")

    stand = r"^wharf.network is at fault, .*KeyError in fail.*; all changes were made, and the next run does the rest$"
    with monkeypatch.context() as patch, pytest.raises(VerifyError, match=stand):
        patch.setattr(flows, "forget", fail)
        run(memory, "a")
    assert (memory.names, Ledger.load().owned_by("bridge")) == (["br-a", "docker0"], memory.there.keys())
    layer = Layer("bridge", plan.bridges, lambda _ledger, _stacks: [memory], warnings=fail)
    with pytest.raises(KeyError):
        converge(Call(networks={"b": {}}, check=True), [layer])
    with pytest.raises(VerifyError, match=stand):
        converge(Call(networks={"b": {}}), [layer])
    assert (memory.names, Ledger.load().owned_by("bridge")) == (["br-a", "br-b", "docker0"], memory.there.keys())


def test_a_run_is_rolled_back_although_what_was_desired_before_is_not_known(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_host: host.Host) -> None:
        raise KeyError("x")

    run(memory, "a")
    before = dict(memory.there)
    memory.fail["br-c"] = ApplyError("refused")
    monkeypatch.setattr(host.Host, "desired_before", fail)
    with pytest.raises(ApplyError, match="^refused; all changes .* taken back, but for these: .*KeyError in fail"):
        run(memory, "b", "c")
    assert memory.there == before


def test_flows_are_forgotten_later_if_the_former_declaration_cannot_be_planned(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may have begun by the rules that were rolled back."""
    forgotten: list[StalePorts] = []
    run(memory, "a")
    file = Path(ledger_file.PATH)
    ledger = json.loads(file.read_text(encoding="utf-8"))
    ledger["declared"]["networks"] = {"a": {"unknown": 1}}
    file.write_text(json.dumps(ledger), encoding="utf-8")
    before = dict(memory.there)
    memory.fail["br-c"] = ApplyError("refused")
    monkeypatch.setattr(host.Host, "ports_to_check", lambda _host, changes: StalePorts(lost=bool(changes)))
    monkeypatch.setattr(flows, "forget", lambda ports, _plan: forgotten.append(ports))
    with pytest.raises(ApplyError, match="^refused; .* taken back, but for these: connection tracking has forgotten"):
        run(memory, "b", "c", state="exact")
    assert (memory.there, Ledger.load().stale_ports, forgotten) == (before, StalePorts(lost=True), [])
    assert Ledger.load().declared.networks == ledger["declared"]["networks"]
    memory.fail.clear()
    run(memory, "b", "c", state="exact")
    assert (Ledger.load().stale_ports, forgotten) == (StalePorts(), [StalePorts(lost=True)])


def test_what_cannot_be_rolled_back_is_still_known_as_ours(memory: Memory) -> None:
    memory.fail["br-b"] = ApplyError("refused")
    memory.fail["br-a"] = ApplyError("refused as well")
    memory.there = {}
    run(memory)
    memory.fail.pop("br-a")

    def refuse_all(changes: Sequence[Change]) -> Mapping[Key, str]:
        Memory.apply(memory, [change for change in changes if change.after])
        raise ApplyError("cannot be removed")

    memory.apply = refuse_all  # type: ignore[method-assign]
    left = "still to be taken back: wharf_networks.a: delete bridge br-a"
    with pytest.raises(ApplyError, match=f"taken back, but for these: cannot be removed; {left}"):
        run(memory, "a")
    assert ("bridge", "br-a") in Ledger.load().owned["bridge"]


def test_a_killed_run_is_finished_by_the_next(memory: Memory) -> None:
    memory.fail["br-b"] = Killed()
    with pytest.raises(Killed):
        run(memory, "a", "b")
    assert memory.names == ["br-a"]
    assert ("bridge", "br-b") in Ledger.load().owned["bridge"]
    memory.fail.clear()
    run(memory)
    assert memory.names == ["br-a", "br-b", "docker0"]


def test_a_change_without_effect_is_our_fault(memory: Memory) -> None:
    memory.forgetful = True
    with pytest.raises(VerifyError, match="these are still to be made: wharf_host: create bridge docker0"):
        run(memory)


def test_an_overlap_names_what_was_declared_in_an_earlier_run(memory: Memory) -> None:
    subnet = {"ipam": {"config": [{"subnet": "10.0.0.0/24"}]}}
    run(memory, z=subnet)
    overlap = "subnet 10.0.0.0/24 overlaps 10.0.0.0/24, the subnet of network"
    earlier = rf"networks\.a\.ipam.config\[0\]: {overlap} z \(declared earlier; .* or remove network z first"
    with pytest.raises(ModelError, match=earlier):
        run(memory, a=subnet)
    with pytest.raises(ModelError, match=rf"networks\.a\.ipam.config\[0\]: {overlap} z: choose another one$"):
        run(memory, a=subnet, z=subnet)
    run(memory, "z", state=ABSENT)
    run(memory, a=subnet)


def test_a_warning_says_which_subnet_changes(memory: Memory) -> None:
    run(memory, "a")
    result = run(memory, b={"ipam": {"config": [{"subnet": "172.18.0.0/24"}]}})
    assert [(change.subject.name, change.fields) for change in result.changes] == [
        ("br-a", ("addresses",)),
        ("br-b", ()),
    ]
    assert "moves from 172.18.0.0/16 to 172.19.0.0/16" in result.warnings[0]


def test_a_host_without_netaddr_hears_what_else_it_lacks(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def require(new: State) -> None:
        raise ConflictError.at("pyroute2", f"is needed for {', '.join(sorted(name for _kind, name in new))}")

    memory.require = require  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "netaddr", None)
    with pytest.raises(ModelError) as error:
        run(memory, "a", c={"enable_ipv6": True})
    assert [str(problem).partition(": install")[0] for problem in error.value.problems] == [
        "netaddr: is needed on this host to allot subnets and addresses",
        "pyroute2: is needed for br-a, br-c, docker0",
    ]
    assert not Path(ledger_file.PATH).exists()


def test_a_model_that_cannot_be_touches_nothing(memory: Memory) -> None:
    with pytest.raises(ModelError):
        run(memory, "not a name")
    assert memory.names == []
    assert not Path(ledger_file.PATH).exists()


def damaged(**parts: Any) -> str:
    """A ledger of which only these parts cannot be understood: of what is allotted, or `stale_ports`."""
    others = {"stale_ports": parts.pop("stale_ports", [])}
    empty: dict[str, Any] = {"declared": {}, "owned": {}, "prior": {}, "canonical": {}}
    return json.dumps({"version": 1, **empty, "allotted": parts, **others})


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", '{"version": 1}', "[]", "\x00\x01", "[" * 100_000),
        *(damaged(stale_ports=["80"]), damaged(stale_ports=[5]), damaged(stale_ports=["* tcp x"])),
        *(damaged(ports=None), damaged(ports=[1]), damaged(resolvers="x"), damaged(resolvers={"web": {}})),
    ],
)
def test_a_ledger_that_cannot_be_understood_is_kept(memory: Memory, text: str) -> None:
    Path(ledger_file.PATH).parent.mkdir()
    Path(ledger_file.PATH).write_text(text, encoding="utf-8")
    with pytest.raises(ConflictError, match="cannot be understood .* left as it is: restore .* wharf_recover=true"):
        run(memory)
    assert Path(ledger_file.PATH).read_text(encoding="utf-8") == text
    assert [path.name for path in Path(ledger_file.PATH).parent.iterdir()] == ["ledger.json"]


def test_a_ledger_of_a_later_version_is_no_broken_one(memory: Memory) -> None:
    Path(ledger_file.PATH).parent.mkdir()
    Path(ledger_file.PATH).write_text('{"version": 2}', encoding="utf-8")
    for broken_too in (False, True):
        with pytest.raises(ConflictError, match="is of version 2, .* use the one that wrote it, or a later one"):
            Ledger.load(broken_too)


class Contested(Memory):
    """Where somebody else changes an object back at once."""

    contested = ("bridge", "br-a")

    def observe(self, desired: State, owned: frozenset[Key]) -> Observation:
        seen = super().observe(desired, owned).current
        return Observation({key: thing for key, thing in seen.items() if key != self.contested}, desired)

    def tolerate(self, left: Sequence[Change]) -> Mapping[Key, str]:
        return {change.subject.key: f"{change.subject.name} is contested" for change in left}


class Refusing(Memory):
    """Where changes of some objects are refused by half, each in a container of its own."""

    refused = ("br-a", "br-b")

    def apply(self, changes: Sequence[Change]) -> Mapping[Key, str]:
        super().apply(changes)
        coming = [change.after for change in changes if change.after]
        return {thing.key: f"{thing.name} is refused" for thing in coming if thing.name in self.refused}


def test_what_is_refused_in_a_container_is_rolled_back_whatever_becomes_of_another_one(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing()
    apply = refusing.apply

    def failing(changes: Sequence[Change]) -> Mapping[Key, str]:
        if any(change.after is None and change.subject.name == "br-a" for change in changes):
            raise ApplyError("br-a stays")
        return apply(changes)

    monkeypatch.setattr(refusing, "apply", failing)
    result = run(refusing, "a", "b", "c")
    assert refusing.names == ["br-a", "br-c", "docker0"]
    left = "br-a stays; still to be taken back: wharf_networks.a: delete bridge br-a"
    assert result.warnings == (
        f"wharf_networks.a: br-a is refused; not all of it was taken back: {left}",
        "wharf_networks.b: br-b is refused",
    )
    assert {change.subject.name for change in result.changes} == {"br-c", "docker0"}
    monkeypatch.setattr(refusing, "refused", ())
    assert [change.subject.name for change in run(refusing, "a", "b", "c").changes] == ["br-b"]


def test_what_concerns_one_container_alone_is_pending_and_the_rest_is_made(memory: Memory) -> None:
    contested = Contested()
    result = run(contested, "a", "b")
    assert [change.subject.name for change in result.changes] == ["br-b", "docker0"]
    reason = "wharf_networks.a: br-a is contested"
    assert (result.pending, result.warnings) == ({("bridge", "br-a"): reason}, (reason,))
    assert Contested.contested in Ledger.load().owned["bridge"]


def test_a_power_cut_leaves_a_whole_ledger(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one is on the disk before it takes the place of the old one, and in its place before anything is done."""
    done: list[tuple[str, str, str]] = []
    fsync, replace, apply = os.fsync, os.replace, memory.apply

    def note_fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        done.append(("fsync", path, Path(path).read_text() if os.path.isfile(path) else ""))
        fsync(descriptor)

    def note_replace(source: str, target: str) -> None:
        done.append(("replace", source, Path(source).read_text()))
        replace(source, target)

    def note_apply(changes: Sequence[Change]) -> Mapping[Key, str]:
        done.append(("apply", "", ""))
        return apply(changes)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    monkeypatch.setattr(memory, "apply", note_apply)
    run(memory, "a")
    new, content = disk.draft(ledger_file.PATH), Path(ledger_file.PATH).read_text()
    settled = [("fsync", new, content), ("replace", new, content), ("fsync", os.path.dirname(new), "")]
    assert done[:3] == settled
    # The log is written in the same way, before and after the changes.
    draft = disk.draft(ledger_file.history.PATH)
    noted = [(act, path) for act, path, _content in done[3:]]
    assert noted[:4] == [*_written(draft), ("apply", "")]
    assert noted[-3:] == _written(draft)


def _written(draft: str) -> list[tuple[str, str]]:
    return [("fsync", draft), ("replace", draft), ("fsync", os.path.dirname(draft))]
