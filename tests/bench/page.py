# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs all benchmarks, and writes docs/performance.md and its charts from what they find.

QUICK=1 tries all of it in less time, and writes to a temporary folder instead. Arguments are names of files of
benchmarks, of which alone there will be something on the page; that goes to a temporary folder as well.
"""

from __future__ import annotations

import datetime
import importlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from charts import svg
from report import Section, Table, markdown

CHECKOUT = Path(__file__).parents[2]
BENCHMARKS = ("setup", "data_path", "names", "plays", "fleet", "ipam")
PICTURES = "performance"
# What people have written of it, and no run can find out.
NOTES = Path(__file__).with_name("notes.md")

_PROGRAMS = {
    "nftables": "nft --version",
    "iptables": "iptables --version",
    "dnsmasq": "dnsmasq --version",
    "netavark": "/usr/lib/podman/netavark --version",
    "aardvark-dns": "/usr/lib/podman/aardvark-dns --version",
    "CNI plugins": "dpkg-query --show containernetworking-plugins",
    "dockerd": "dockerd --version",
}


def main(names: Sequence[str], quick: bool) -> None:
    began = time.monotonic()

    def notify(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    sections = [_conditions()]
    for name in names or BENCHMARKS:
        notify(f"▶ {name}")
        sections += importlib.import_module(name).sections(quick, notify)
    is_whole = not names and not quick
    folder = CHECKOUT / "docs" if is_whole else Path(tempfile.mkdtemp(prefix="wharf-performance-"))
    notify(f"written: {_write(folder, sections)}")


def _write(folder: Path, sections: Sequence[Section]) -> Path:
    pictures = folder / PICTURES
    pictures.mkdir(exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    for chart in (chart for section in sections for chart in section.charts):
        (pictures / f"{chart.name}.svg").write_text(svg(chart), encoding="utf-8")
    page = folder / "performance.md"
    page.write_text(f"{_HEAD}\n{markdown(sections, PICTURES)}\n{NOTES.read_text(encoding='utf-8')}", encoding="utf-8")
    return page


_HEAD = """# Performance

`make bench` measures all of this on throwaway hosts of one machine, and writes this page. All that is compared is
measured by turns in the same run, so ratios hold on any machine that does nothing else meanwhile; the figures are
medians of this one. "Must be" is what wharf.network sets out to reach, met or not.
"""


def _conditions() -> Section:
    memory = next(line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    model = next((line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    rows = [
        ["date", f"{datetime.date.today():%d %B %Y}"],
        ["machine", f"{model or platform.machine()}, {os.cpu_count()} cores, {int(memory) / 2**20:.0f} GiB"],
        ["kernel", platform.release()],
        ["Python", f"{platform.python_version()}, pyroute2 {version('pyroute2')}, netaddr {version('netaddr')}"],
        ["ansible-core", version("ansible-core")],
        *([name, _said(command)] for name, command in _PROGRAMS.items()),
    ]
    load = os.getloadavg()[0]
    busy = f"The machine was busy with other work when this began (load {load:.1f})." if load > 1 else ""
    return Section("Measured on", busy, [Table(["", ""], rows)])


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def _said(command: str) -> str:
    """The first line of what a program says of its version."""
    environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    try:
        ran = subprocess.run(command.split(), capture_output=True, text=True, env=environment, check=False)
    except OSError:
        return "not installed"
    lines = [*ran.stdout.splitlines(), "gives no version"]
    return " ".join(lines[0].partition("Copyright")[0].split())


if __name__ == "__main__":
    main(sys.argv[1:], os.environ.get("QUICK") == "1")
