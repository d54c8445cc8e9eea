# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same engine without Ansible: the command `wharf`. Words are JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Dict, List

from .converge import adopt_host, converge
from .declaration.declared import ABSENT, PRESENT, STATES, Call
from .errors import ModelError, WharfError
from .facts_reader import read_facts
from .layers import LAYERS
from .observation import observe
from .picture import draw
from .report import describe
from .state import SCOPES
from .version import VERSION

# What a file of words may have.
_DECLARATION = ("host", "networks", "containers", "docker_user")
_WORDS = f"JSON file with {', '.join(_DECLARATION)}, - for standard input; without it, what is declared already"


def main(arguments: List[str]) -> int:
    options = _parse(arguments)
    if os.geteuid() != 0:
        sys.stderr.write("reading and changing a host's networks needs root there: run this with sudo\n")
        return 1
    try:
        if options.command == "show":
            sys.stdout.write(draw(observe()))
        elif options.command == "adopt":
            _adopt(options)
        elif options.command == "follow":
            _follow()
        else:
            _converge_all(options)
    except (WharfError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parse(arguments: List[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="wharf", description="Docker's network model, as declared on this host")
    parser.add_argument("--version", action="version", version=f"wharf {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help="draw the host's networks")
    commands.add_parser(
        "follow",
        help="connect containers that start, keep containers' files true to the host's, and load flushed rules again; "
        "never ends",
    )
    for name, text in (("apply", "bring the host to what is declared"), ("diff", "say what apply would change")):
        command = commands.add_parser(name, help=text)
        command.add_argument("words", nargs="?", help=_WORDS)
        command.add_argument("--state", choices=STATES, default=PRESENT)
        command.add_argument("--adopt", action="store_true", help="find again what stands, if the ledger is lost")
        command.add_argument("--scope", choices=SCOPES, action="append", help="declare this part only")
    command = commands.add_parser(
        "adopt", help="where the ledger is lost, find again what stands; changes nothing else"
    )
    command.add_argument("words", nargs="?", help="file with what is declared on this host, - for standard input")
    return parser.parse_args(arguments)


def _follow() -> None:
    """One line of JSON for each time that there was something to do, and a first one once all is watched."""
    # A host that boots without this pays nothing for it.
    from .follow import Followed, follow

    def tell(followed: Followed) -> None:
        sys.stdout.write(json.dumps(vars(followed)) + "\n")
        sys.stdout.flush()

    follow(tell)


def _adopt(options: argparse.Namespace) -> None:
    """Say what is ours by now, by layer. Without words nothing is declared: what is not before the next run, goes."""
    call = Call(**_read(options.words), adopt=True) if options.words else Call(state=ABSENT, adopt=True)
    owned = adopt_host(call, read_facts).owned
    sys.stdout.write(
        json.dumps({"owned": {layer: sorted(map(" ".join, keys)) for layer, keys in owned.items()}}) + "\n"
    )


def _converge_all(options: argparse.Namespace) -> None:
    """Converge every layer; one line of JSON for each says what changed.

    Without words this is what brings a host back that has been rebooted, or whose rules were flushed.
    """
    words = _read(options.words) if options.words else {}
    call = Call(
        **words,
        state=options.state,
        scopes=frozenset(options.scope or SCOPES),
        check=options.command == "diff",
        adopt=options.adopt,
        repeats=not options.words and options.state == PRESENT and not options.adopt,
    )
    for layer in reversed(LAYERS) if call.state == ABSENT else LAYERS:
        result = converge(layer, call, read_facts, LAYERS)
        sys.stdout.write(json.dumps({"layer": layer.name, **describe(result)}) + "\n")
        sys.stdout.flush()


def _read(path: str) -> Dict[str, Any]:
    """
    Raises:
        ModelError: the file has something else than a declaration.
    """
    if path == "-":
        words = json.load(sys.stdin)
    else:
        with open(path, encoding="utf-8") as file:
            words = json.load(file)
    if not isinstance(words, dict) or not words.keys() <= set(_DECLARATION):
        raise ModelError.at(path, f"must be a mapping that has nothing but {', '.join(_DECLARATION)}")
    return words


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
