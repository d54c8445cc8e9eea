# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's networks as metrics, in the format that the textfile collector of Prometheus' node_exporter reads."""

from __future__ import annotations

import os
from typing import Any, Iterator, List, Mapping, Sequence, Tuple

from .errors import ApplyError, ProblemCollector
from .kernel import disk
from .layers import LAYERS
from .observation import observe_what_can_be
from .version import VERSION

Seen = Mapping[str, Any]

# Labels, already as text, and a value.
_Sample = Tuple[str, float]


def observe_metrics() -> str:
    """The metrics of this host now. Changes nothing; the lock of the host is to be held."""
    problems = ProblemCollector()
    return metrics(observe_what_can_be(problems), len(problems.problems))


def metrics(seen: Seen, problems: int = 0) -> str:
    """What was observed, in the text format of Prometheus. `problems` is how much could not be observed."""
    return "".join(line for name, text, samples in _families(seen, problems) for line in _lines(name, text, samples))


def _families(seen: Seen, problems: int) -> Iterator[Tuple[str, str, Sequence[_Sample]]]:
    """Each metric by its name, with its help and samples."""
    drift = seen["drift"]
    containers = seen["containers"].values()
    unconnected = [why for container in containers for why in container["unconnected"].values()]
    yield "info", "The version of wharf.network on this host.", [(f'version="{VERSION}"', 1)]
    yield (
        "drift_objects",
        "Objects that differ from what is declared on this host.",
        [(f'layer="{layer.name}"', len(drift.get(layer.name, ()))) for layer in LAYERS],
    )
    yield "pending_sandboxes", "Network stacks of containers that do not exist yet.", _one(_pending_sandboxes(seen))
    yield (
        "unconnected_endpoints",
        "Declared endpoints that are not connected now, including pending ones.",
        _one(len(unconnected)),
    )
    yield "networks", "Declared networks.", _one(len(seen["networks"]))
    yield "containers", "Declared containers.", _one(len(seen["containers"]))
    yield "published_ports", "Ports of the host that lead to containers now, by family.", _one(len(seen["published"]))
    yield (
        "edited_files",
        "Files of containers that were edited by hand and are left as they are.",
        _one(len(seen["edited"])),
    )
    yield "third_party_drops", "Third-party rules that drop what the networks need.", _one(len(seen["foreign"]))
    yield "unconfirmed", "1 while changes are not confirmed, and will be reverted.", _one(bool(seen["unconfirmed"]))
    yield "unobserved", "Problems that kept parts of the host from being observed.", _one(problems)
    last = seen["last_change"]
    if last:
        yield "last_change_timestamp_seconds", "When the last run that changed anything began.", _one(last["at"])
        yield "last_change_objects", "Objects that this run changed.", _one(last["objects"])


def _pending_sandboxes(seen: Seen) -> int:
    return len({each["sandbox"] for each in seen["containers"].values()} & set(seen["pending"]))


def _one(value: float) -> List[_Sample]:
    return [("", value)]


def _lines(name: str, text: str, samples: Sequence[_Sample]) -> Iterator[str]:
    yield f"# HELP wharf_{name} {text}\n"
    yield f"# TYPE wharf_{name} gauge\n"
    for labels, value in samples:
        yield f"wharf_{name}{f'{{{labels}}}' if labels else ''} {_number(value)}\n"


def _number(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(int(value))


def write(path: str, text: str) -> None:
    """Replace the file in one step, readable for everybody: node_exporter does not run as root.

    Raises:
        ApplyError: it cannot be written.
    """
    try:
        disk.replace(path, text, 0o644)
    except OSError as error:
        folder = os.path.dirname(path)
        remedy = "" if os.path.isdir(folder) else f": create the folder {folder}"
        raise ApplyError(f"{path} cannot be written ({error.strerror}){remedy}") from error
