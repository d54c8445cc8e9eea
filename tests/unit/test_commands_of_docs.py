# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands, playbooks, variables and targets that pages name are there, with these options.

Those of the tutorial and of `docs/how-to/explain.md` are run, by `test_tutorial.py` and `test_explain.py`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ansible_collections.wharf.network.plugins.module_utils.engine import command
from ansible_collections.wharf.network.plugins.plugin_utils.variables import KNOWN

CHECKOUT = Path(__file__).parents[2]
PAGES = [page for where in (".", "docs", "docs/how-to", "roles/*") for page in sorted(CHECKOUT.glob(f"{where}/*.md"))]
TARGETS = set(re.findall(r"^\.PHONY: ([\w-]+)$", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
NAMED = {
    path.stem
    for where in ("playbooks/*.yml", "plugins/modules/*.py", "plugins/filter/*.py", "plugins/test/*.py", "roles/*")
    for path in CHECKOUT.glob(where)
}
# On this page, these are names of job templates in AWX.
AWX = "docs/how-to/awx.md"


def commands(page: Path) -> Iterator[list[str]]:
    """The command lines of blocks, each as its words, and in the text those of `wharf` and `make`."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```(?:console|text)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in fenced for line in re.findall(r"^[$#] (.*)", block, re.MULTILINE)]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += re.findall(r"^ {4}(?:[$#] )?((?:sudo |QUICK=1 )?(?:wharf|make|ansible-playbook) .*)", prose, re.MULTILINE)
    if str(page.relative_to(CHECKOUT)) != AWX:
        lines += re.findall(r"`((?:sudo )?(?:wharf|make) [^`]*)`", prose)
    for line in lines:
        yield shlex.split(line.removeprefix("sudo ").removeprefix("QUICK=1 "), comments=True)


def wrong(words: list[str]) -> str:
    """What is wrong with a command; empty if it would run."""
    name, *arguments = words
    if name == "make":
        return "" if {each for each in arguments if "=" not in each and each != "…"} <= TARGETS else "no such target"
    if name == "wharf":
        given = " ".join(arguments).partition(" > ")[0]
        given = given.replace("SECONDS", "60").replace("FILE", "/run/wharf.prom")
        # A text that names a command leaves its arguments out.
        try:
            command._parse(given.split() if " " in given else [given, "--help"])
        except SystemExit as ended:
            return "" if ended.code in (None, 0) else "the command does not take this"
    if name == "ansible-playbook":
        extra = [arguments[place + 1] for place, each in enumerate(arguments) if each == "-e"]
        names = {key for each in extra if not each.startswith("@") for key in _variables(each)}
        playbook = next(each for each in arguments if each.startswith("wharf.network.") or each.endswith(".yml"))
        there = not playbook.startswith("wharf.network.") or (CHECKOUT / f"playbooks/{playbook[14:]}.yml").exists()
        return "" if there and names <= KNOWN else f"no such playbook or variable: {playbook}, {names - KNOWN}"
    return ""


def _variables(extra: str) -> list[str]:
    return list(yaml.safe_load(extra)) if extra.startswith("{") else [extra.partition("=")[0]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_commands(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {shlex.join(words): why for words in commands(page) if words and (why := wrong(words))}
    assert found == {}, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_names_of_the_collection(page: Path) -> None:
    named = re.findall(r"`(?:ansible-doc )?wharf\.network\.(\w+)`", page.read_text(encoding="utf-8"))
    assert set(named) <= NAMED


def test_something_is_found() -> None:
    names = [words[0] for page in PAGES for words in commands(page) if words]
    assert {name: names.count(name) > 10 for name in ("wharf", "make", "ansible-playbook")} == {
        "wharf": True,
        "make": True,
        "ansible-playbook": True,
    }
    for broken in ("wharf shwo", "wharf apply --sate absent f", "make tset", "ansible-playbook wharf.network.sit"):
        assert wrong(broken.split()) != "", broken


def test_the_page_on_the_command_lists_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert wrong(["wharf", "--help"]) == ""
    names = re.findall(r"\{([\w,]+)\}", capsys.readouterr().out)[0].split(",")
    page = (CHECKOUT / "roles/boot/README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `wharf (\w+)[^|]*\|", page, re.MULTILINE)) == sorted(names)


def test_a_page_quotes_its_files() -> None:
    """Those of the example that runs on VMs, without what heads each of them."""
    folder = CHECKOUT / "docs/how-to/bgp"
    page = folder.with_suffix(".md").read_text(encoding="utf-8")
    quoted = dict(re.findall(r"^`([^`]*)`:\n\n```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    files = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.*")}
    assert quoted == {name: re.sub(r"(?m)^---\n|^# SPDX.*\n", "", text) for name, text in files.items()}
