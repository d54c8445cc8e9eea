# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of docs/how-to/migrate.md name each option of Docker's that is about networks, and what is accepted."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from planning import problems

PAGE = (Path(__file__).parents[3] / "docs/how-to/migrate.md").read_text(encoding="utf-8")
APP = {"enable_ipv6": True, "ipam": {"config": [{"subnet": "10.1.0.0/24"}, {"subnet": "fd00:1::/64"}]}}

# Options of `docker run` that are about networks by their names; and those that only look so.
ABOUT_NETWORKS = r"--(?:add-host|dns|domainname|expose|hostname|ip|link|mac-address|network|publish|sysctl)[\w-]*"
NOT_ABOUT_NETWORKS = {"--ipc"}


def rows(heading: str) -> dict[str, str]:
    """What is declared, by the options of a row."""
    table = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| (`-.*?) \| (.*) \|$", table, re.MULTILINE))


NETWORKS = rows("Options of `docker network create`")
CONTAINERS = rows("Options of `docker run` and `docker network connect`")


def entries(table: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Each option, and each value that the page has for it."""
    for options, cell in table.items():
        for code in re.findall(r"`([^`]+: [^`]+)`", cell):
            yield options, yaml.safe_load(code)


@pytest.mark.parametrize(("option", "entry"), [*entries(NETWORKS)])
def test_what_a_network_declares_is_accepted(option: str, entry: Any) -> None:
    assert problems({"networks": {"app": entry}}) == [], option


@pytest.mark.parametrize(("option", "entry"), [*entries(CONTAINERS)])
def test_what_a_container_declares_is_accepted(option: str, entry: Any) -> None:
    containers = {"web": entry, "db": {"networks": ["app"]} if "networks" in entry else {}}
    assert problems({"networks": {"app": APP}, "containers": containers}) == [], option


def options_of(command: str) -> set[str]:
    printed = subprocess.run(["docker", *command.split(), "--help"], check=True, capture_output=True, text=True)
    return {*re.findall(r"^ +(?:-\w, )?(--[\w-]+)", printed.stdout, re.MULTILINE)}


@pytest.mark.skipif(not shutil.which("docker"), reason="this needs the command docker, of docker-cli")
def test_each_option_has_a_row() -> None:
    named = {*re.findall(r"--[\w-]+", " ".join(NETWORKS))}
    assert options_of("network create") - named == set()
    named = {*re.findall(r"--[\w-]+", " ".join(CONTAINERS))}
    of_run = {each for each in options_of("run") if re.fullmatch(ABOUT_NETWORKS, each)} - NOT_ABOUT_NETWORKS
    assert len(of_run) > 10
    assert (of_run | options_of("network connect")) - named == set()
