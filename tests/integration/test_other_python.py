# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays on a host where Ansible runs modules by a Python without pyroute2 and netaddr, and another Python has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from controller import Controller

VARIABLES = {
    "wharf_networks": {"app": {}},
    # More than fits into a pipe, which has 64 KiB.
    "wharf_containers": {
        "web": {"networks": ["app"], "extra_hosts": {f"name-{number}.example": "192.0.2.9" for number in range(3000)}}
    },
}
SCRIPT = """#!/bin/sh
exec {python} {options} "$@"
"""


def script(path: Path, options: str = "") -> str:
    path.write_text(SCRIPT.format(python=sys.executable, options=options), encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def lacking(controller: Controller, tmp_path: Path) -> dict[str, str]:
    """The variables of a host whose interpreter lacks the libraries, and has `/usr/local/bin/python3` with them."""
    complete = script(tmp_path / "complete")
    controller.host.run(f"mount -t tmpfs none /usr/local/bin && cp {complete} /usr/local/bin/python3")
    return {"ansible_python_interpreter": script(tmp_path / "lacking", "-S")}


def test_a_site_converges_and_installs_a_command_that_runs(controller: Controller, lacking: dict[str, str]) -> None:
    made = controller.converge("wharf.network.site", {**VARIABLES, **lacking})
    assert ("create", "bridge", "br-app") in made
    assert ("create", "endpoint", "web/app") in made
    assert ("create", "program", "/usr/local/sbin/wharf") in made
    played = controller.play({"roles": ["wharf.network.boot"]}, variables=lacking)
    assert played.returncode == 0, played.output
    # The interpreter that the file names.
    ran = subprocess.run(
        [*controller.host.enter(), "/usr/local/sbin/wharf", "diff"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_results_are_those_of_the_module(controller: Controller, lacking: dict[str, str]) -> None:
    waits = {"web": {"networks": ["app"], "x-wharf": {"sandbox": "machine:web"}}}
    tasks = [
        {"wharf.network.layers": {"networks": {"app": {}}, "containers": waits}, "check_mode": True, "diff": True},
        {"wharf.network.network_info": None, "async": 60, "poll": 1},
        {"wharf.network.layers": {"networks": {"app": {"enable_ipv7": True}}}, "ignore_errors": True},
    ]
    played = controller.play({"tasks": tasks}, variables={**lacking, "ansible_async_dir": str(controller.folder)})
    assert played.returncode == 0, played.output
    assert "[WARNING]: pending until their containers run: machine:web" in played.output
    assert "+1 dnsmasq process: app" in played.output
    made, seen, refused = played.results
    assert "web/app" in made["pending"]
    # Check mode has declared nothing.
    assert seen["containers"] == {}
    assert refused["problems"][0]["path"] == "networks.app.enable_ipv7"
