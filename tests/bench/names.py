# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one more name costs on a network that has none, and on one that has 500: compare the ratios, not the figures."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from hosts import ENGINE, ThrowawayHost

MANY, TIMES = 500, 5

# As Compose calls them. Where a network is called as a top-level domain could be, dnsmasq also reads all names again.
NETWORK = "shop_app"

# Run in the host: the last container comes; how long the layer takes, and after how long its name is answered.
_MEASURE = """
import json, os, random, socket, struct, sys, time
from engine.converge import converge
from engine.declaration.declared import Call
from engine.facts_reader import read_facts
from engine.layers import DNSMASQ

def answered(name):
    labels = bytes([len(name)]) + name.encode() + bytes(1)
    header = struct.pack("!6H", random.randrange(65536), 0x100, 1, 0, 0, 0)
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(2)
    asking.sendto(header + labels + struct.pack("!2H", 1, 1), ("172.18.0.1", 53))
    return struct.unpack("!6H", asking.recv(512)[:12])[3] > 0

reading, writing = os.pipe()
if not os.fork():
    while not answered("newcomer"):
        time.sleep(0.001)
    os.write(writing, str(time.perf_counter()).encode())
    os._exit(0)
written = []
replace = os.replace
def noting(source, target):
    replace(source, target)
    if target.endswith("/newcomer"):
        written.append(time.perf_counter())
os.replace = noting
began = time.perf_counter()
converge(DNSMASQ, Call(**json.load(sys.stdin)), read_facts)
took = time.perf_counter() - began
print(json.dumps([float(os.read(reading, 99)) - written[0], took]))
"""


def declaration(count: int) -> dict[str, Any]:
    """Their sandboxes are never there: this is about names."""
    names = [*(f"c{number}" for number in range(count)), "newcomer"]
    containers = {name: {"networks": [NETWORK], "x-wharf": {"sandbox": f"path:/run/nobody/{name}"}} for name in names}
    return {"networks": {NETWORK: {}}, "containers": containers}


def measure(count: int) -> tuple[float, float]:
    """In milliseconds: from the written file to the answer, and the whole call of the layer."""
    words = declaration(count)
    without = {**words, "containers": {name: each for name, each in words["containers"].items() if name != "newcomer"}}
    measured = []
    with ThrowawayHost.started() as host:
        for _time in range(TIMES):
            host.apply(without, "exact")
            command = [*host.enter(), *ENGINE, "-c", _MEASURE]
            ran = subprocess.run(command, input=json.dumps(words), capture_output=True, text=True, check=True)
            measured.append(json.loads(ran.stdout))
        host.apply({}, "absent")
    seen, whole = (statistics.median(column) * 1000 for column in zip(*measured, strict=True))
    return seen, whole


def main() -> None:
    few, many = measure(0), measure(MANY)
    print(f"{'adding one name':32} {'to none':>10} {f'to {MANY}':>10} {'ratio':>7}")
    for what, one, other in zip(("from its file to the answer", "the whole call of the layer"), few, many, strict=True):
        print(f"{what:32} {one:7.1f} ms {other:7.1f} ms {other / one:7.1f}")


if __name__ == "__main__":
    main()
