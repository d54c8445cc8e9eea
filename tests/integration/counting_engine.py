# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`counting_engine.py`: converges what the JSON on its standard input declares, and prints what that took.

The output is `{"changes": NUMBER, "programs": [COMMAND LINE, …], "processes_listed": NUMBER,
"observed": {RESOURCE: NUMBER}, "searched": {RESOURCE: NUMBER}, "dumped": {LIST: NUMBER}}`. A resource is `LAYER CLASS`.
`processes_listed` says how often all processes of the host were listed. `searched` are the observations
by which a host without a ledger is searched for the marks of a lost one. `dumped` says how often the kernel was asked
for the host's own `links`, `addresses` and `routes`.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from engine import layers, recovery
from engine.converge import converge
from engine.declaration.declared import Call
from engine.kernel import rtnetlink
from engine.ledger import Ledger
from engine.resources.links.stacks import StackReader
from engine.resources.resource import Resource

Make = Callable[[Ledger, StackReader], Sequence[Resource]]

programs: list[str] = []
listings: list[str] = []
observed: Counter[str] = Counter()
searched: Counter[str] = Counter()
dumped: Counter[str] = Counter()


def note_event(event: str, details: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen":
        programs.append(" ".join(map(str, details[1])))
    elif event in ("os.listdir", "os.scandir") and details[0] == "/proc":
        listings.append(event)


def count_observations(counts: Counter[str]) -> None:
    """Count each time that one of the resources which layers make from now on is observed.

    Where a resource asks another one, as the firewall does its backend, that is one observation.
    """
    for layer, make in made.items():
        object.__setattr__(layer, "resources", _counting(layer.name, make, counts))


def _counting(layer: str, make: Make, counts: Counter[str]) -> Make:
    def counted(resource: Resource) -> Resource:
        observe = resource.observe

        def counting(*arguments: Any) -> Any:
            counts[f"{layer} {type(resource).__name__}"] += 1
            return observe(*arguments)

        vars(resource)["observe"] = counting
        return resource

    return lambda *arguments: [counted(resource) for resource in make(*arguments)]


def count_dumps(name: str) -> None:
    dump = getattr(rtnetlink, name)

    def counting(*connection: Any) -> Any:
        if not connection:
            dumped[name] += 1
        return dump(*connection)

    setattr(rtnetlink, name, counting)


def search(*arguments: Any) -> Any:
    count_observations(searched)
    try:
        return recover(*arguments)
    finally:
        count_observations(observed)


made = {layer: layer.resources for layer in layers.LAYERS}
recover, recovery.recover = recovery.recover, search
count_observations(observed)
for kind in ("links", "addresses", "routes"):
    count_dumps(kind)
sys.addaudithook(note_event)
result = converge(Call(**json.load(sys.stdin)))
counts = {"observed": observed, "searched": searched, "dumped": dumped}
done = {"changes": len(result.changes), "programs": programs, "processes_listed": len(listings)}
print(json.dumps({**done, **counts}))
