# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of docs/tutorial.md in their order, as the page has them, and what the page says that they print."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from controller import CHECKOUT, Controller, settings
from hosts import HOST, differences

PAGE = (CHECKOUT / "docs/tutorial.md").read_text(encoding="utf-8")

# `make release` installs the collection from its archive, and the scenarios on VMs install the packages.
INSTALLATIONS = ("apt install ", "ansible-galaxy ")
ELSEWHERE = "# on another machine"


def blocks(text: str) -> Iterator[str]:
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for block in re.findall(r"^(?: {4}.*\n|\n(?= {4}))+", text, re.MULTILINE):
        yield re.sub(r"^ {4}", "", block, flags=re.MULTILINE).strip()


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a block, and what it prints. A block without prompts has nothing but commands."""
    if not block.startswith("$ "):
        yield from ((line, "") for line in block.splitlines())
        return
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _newline, printed = part.partition("\n")
        yield command, printed.strip()


def ran(controller: Controller, command: str) -> str:
    """Run a command on the host by a shell in which `sudo` and `/tmp/www` are the test's own, and nobody is asked."""
    place = "outside" if ELSEWHERE in command else HOST
    command = command.replace("curl ", "busybox wget -qO- ").replace("/tmp/www", str(controller.folder / "www"))
    command = command.replace(" -K ", " ")
    environment = settings(controller.folder)
    environment["PATH"] = f"{controller.folder}:{Path(sys.executable).parent}:{environment['PATH']}:/usr/sbin:/sbin"
    shell = [*controller.host.enter(place), "sh", "-c", f"cd {controller.folder}; {command}"]
    done = subprocess.run(shell, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_tutorial(controller: Controller) -> None:
    (controller.folder / "sudo").write_text('#!/bin/sh\nexec "$@"\n', encoding="utf-8")
    (controller.folder / "sudo").chmod(0o755)
    [playbook] = re.findall(r"^```yaml\n(# playbook\.yml\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    # The host of the page has one address of each family.
    controller.host.run("ip addr del 192.0.2.11/24 dev eth0; ip addr del 2001:db8::11/64 dev eth0")
    before = controller.host.snapshot()
    first, second = PAGE.split("## 4. Change it")
    run = 0
    for text, declared in ((first, playbook), (second, playbook.replace("8080:80", "8081:80"))):
        (controller.folder / "playbook.yml").write_text(declared, encoding="utf-8")
        for command, shown in (each for block in blocks(text) for each in commands(block)):
            if command.startswith(INSTALLATIONS):
                continue
            printed = ran(controller, command)
            for part in filter(None, map(str.strip, shown.split("…"))):
                assert part in printed, f"{command}\n{printed}"
            if " --check" in command:
                # "Run it without --check", and "a second run": in one run of Ansible, which counts both.
                assert "changed=1 " in ran(controller, command.replace(" --check --diff", " playbook.yml"))
            run += 1
    assert run == 10
    assert differences(before, controller.host.snapshot()) == ""
