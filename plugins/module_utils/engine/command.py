# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same engine without Ansible: the command `wharf`."""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
import time
from typing import Any, Callable, Dict, List, NoReturn, Optional

from . import history, verified
from .converge import Result, converge, recover_ledger
from .declaration.declaration_file import KEYS, read_declaration
from .declaration.declared import (
    ABSENT,
    AT_BOOT,
    BY_HAND,
    METRICS_FILE,
    PRESENT,
    SCOPES,
    STATES,
    Call,
    is_metrics_file,
)
from .declaration.places import Places
from .drawing.text_picture import draw
from .errors import ConflictError, ProblemCollector, WharfError
from .history import MOST_RUNS
from .kernel import clock
from .observation import observe_what_can_be
from .report import describe, log_lines, recovered_lines, summary, unified
from .run_lock import locked, run_under_way
from .unconfirmed import NOTHING_UNCONFIRMED
from .version import VERSION
from .visible import visible

DONE, FAILED, DIFFERS = 0, 1, 2
# Of `explain`, whose errors must not be taken for a verdict.
VERDICTS, NO_VERDICT = {"open": 0, "closed": 1, "unknown": 2}, 3
# What a shell reports of a program that SIGPIPE has ended. The signal itself could end a run in the midst of a change.
OUTPUT_CLOSED = 128 + signal.SIGPIPE
_OUTPUTS = (1, 2)

_FILE = (
    f"a JSON or YAML file with {', '.join(KEYS)}, or - for standard input; default: the present declaration. With "
    '--state absent, "all" instead of names removes all of a part, and no file removes everything'
)
_STATE = (
    "present (default): what the file names becomes as declared there, and other objects stay; exact: other objects of "
    "the parts in the file are removed; absent: what the file names is removed"
)
_CODES = {
    "show": "ends with 0: drawn, even if the first lines name problems; 1: an error. It waits for no other run",
    "apply": "ends with 0: the host is as declared; 1: an error",
    "diff": "ends with 0: nothing differs; 2: it differs; 1: an error",
    "explain": "ends with 0: open; 1: closed; 2: it cannot be known; 3: an error",
    "confirm": "ends with 0: confirmed; 1: an error, or there was nothing to confirm",
    "revert": "ends with 0: reverted; 1: an error, or there was nothing to revert",
}
_CONFIRM = "revert the changes, unless `wharf confirm` confirms them within this many seconds"
_JSON = "print one JSON document for machines"
_NOTHING = {"apply": "nothing to change", "diff": "nothing differs from what is declared"}


def main(arguments: List[str]) -> int:
    try:
        return _run(_parse(arguments))
    except BrokenPipeError:
        _discard_outputs()
        return OUTPUT_CLOSED


def _run(options: argparse.Namespace) -> int:
    """
    Raises:
        BrokenPipeError: the program that reads the output has ended.
    """
    if os.geteuid() != 0:
        sys.stderr.write("reading and changing a host's networks needs root there: run this with sudo\n")
        return _code_of_error(options.command)
    try:
        code = _COMMANDS[options.command](options)
        sys.stdout.flush()
    except (WharfError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _closed_outputs():
            raise
        sys.stderr.write(visible(f"{error}\n"))
        return _code_of_error(options.command)
    except Exception:
        # A defect. Python would end with 1, which is a verdict. `traceback` is imported only then: it takes time.
        import traceback

        sys.stderr.write(visible(traceback.format_exc()))
        return _code_of_error(options.command)
    return DONE if code is None else code


def _closed_outputs() -> List[int]:
    """Of standard output and standard error, the pipes that nobody reads any more."""
    poll = select.poll()
    for descriptor in _OUTPUTS:
        poll.register(descriptor, 0)
    return [descriptor for descriptor, event in poll.poll(0) if event & select.POLLERR]


def _discard_outputs() -> None:
    """Python would complain, when it ends, about what it still holds back for them."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in _closed_outputs():
        os.dup2(nowhere, descriptor)


def _code_of_error(command: str) -> int:
    return NO_VERDICT if command == "explain" else FAILED


class _Parser(argparse.ArgumentParser):
    """Ends with the code of any error, and not with that of a difference, or of a verdict.

    An option must be written out: argparse would take the beginning of one for it.
    """

    # The command that was asked for: what follows it may be an error of the parser of all commands.
    command = ""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(_code_of_error(self.command), f"{self.prog}: {message}\n")


def _metrics_file(path: str) -> str:
    if not is_metrics_file(path):
        raise argparse.ArgumentTypeError(METRICS_FILE)
    return path


def _parse(arguments: List[str]) -> argparse.Namespace:
    _Parser.command = arguments[0] if arguments else ""
    parser = _Parser(prog="wharf", description="shows, changes and explains the container networks of this host")
    parser.add_argument("--version", action="version", version=f"wharf {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("show", help="draw the host's networks", epilog=_CODES["show"])
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help=_JSON)
    form.add_argument("--html", action="store_true", help="print a page for a browser, which needs nothing else")
    form.add_argument("--svg", action="store_true", help="print a picture for a browser")
    command = commands.add_parser(
        "log", help=f"list the last {MOST_RUNS} runs that changed something, the latest first"
    )
    command.add_argument("--json", action="store_true", help=_JSON)
    commands.add_parser(
        "metrics", help="print the state of the host's networks for Prometheus, in node_exporter's textfile format"
    )
    command = commands.add_parser(
        "follow",
        help="connect containers that start, update containers' files when the host's change, and load flushed rules "
        "again; runs until it is stopped",
    )
    command.add_argument(
        "--metrics", metavar="FILE", type=_metrics_file, help="keep what `wharf metrics` prints in this file"
    )
    for name, text in (("apply", "bring the host to what is declared"), ("diff", "show what apply would change")):
        command = commands.add_parser(name, help=text, epilog=_CODES[name])
        command.add_argument("file", nargs="?", help=_FILE)
        command.add_argument("--state", choices=STATES, default=PRESENT, help=_STATE)
        command.add_argument(
            "--recover", action="store_true", help="recover the ledger from the marks on the host, if it is lost"
        )
        command.add_argument("--scope", choices=SCOPES, action="append", help="declare only this part of the file")
        command.add_argument("--json", action="store_true", help=_JSON)
        if name == "apply":
            command.add_argument("--confirm", type=int, metavar="SECONDS", help=_CONFIRM)
            command.add_argument(
                "--at-boot", action="store_true", help="note in the log that the run belongs to a boot"
            )
    commands.add_parser("confirm", help="keep the changes that are not confirmed yet", epilog=_CODES["confirm"])
    command = commands.add_parser(
        "revert", help="revert the changes that are not confirmed yet", epilog=_CODES["revert"]
    )
    command.add_argument(
        "--at-deadline",
        action="store_true",
        help="wait for the confirmation, or revert at the deadline: for the process in the background",
    )
    command = commands.add_parser(
        "recover", help="recover a lost ledger from the marks on the host; changes nothing else"
    )
    command.add_argument("file", nargs="?", help="file with all that is declared on this host, - for standard input")
    command.add_argument("--json", action="store_true", help=_JSON)
    command = commands.add_parser(
        "explain",
        help="say whether and why a packet passes, from the rules, routes and links in the kernel",
        epilog=_CODES["explain"],
    )
    command.add_argument(
        "source", metavar="FROM", help="who sends: a container, host, an address, or outside (any other host)"
    )
    command.add_argument(
        "target",
        metavar="TO",
        help="who receives: a container, host, an address, or a name as FROM resolves it; with :PORT, :PORT/udp",
    )
    command.add_argument("--icmp", action="store_true", help="a ping, which has no port")
    command.add_argument("--send", action="store_true", help="send one such packet, and see whether it arrives")
    command.add_argument("--json", action="store_true", help=_JSON)
    return parser.parse_args(arguments)


def _explain(options: argparse.Namespace) -> int:
    # A host that boots without this pays nothing for it.
    from .explain import Asked, explain, lines

    explained = visible(explain(Asked(options.source, options.target, options.icmp, options.send)))
    if options.json:
        sys.stdout.write(json.dumps(explained) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines(explained))
    return VERDICTS[explained["verdict"]]


def _show(options: argparse.Namespace) -> None:
    """Above the picture are the problems that keep parts of the host from being observed."""
    problems = ProblemCollector()
    seen = observe_what_can_be(problems)
    other_run = run_under_way()
    under_way = [f"the picture may be incomplete: {other_run}"] if other_run else []
    texts = [*under_way, *map(str, dict.fromkeys(problems.problems))]
    if options.json:
        sys.stdout.write(json.dumps(visible({**seen, "problems": texts})) + "\n")
    elif options.html or options.svg:
        _draw_page({**seen, "problems": texts}, options.html)
    else:
        sys.stdout.write(draw(visible(seen), visible(texts), _is_coloured()))


def _draw_page(seen: Dict[str, Any], as_page: bool) -> None:
    from .drawing.host_picture import host_svg
    from .drawing.page import page
    from .drawing.view import view

    host = view(os.uname().nodename, visible(seen), visible(verified.read()))
    sys.stdout.write(page([host], f"observed {clock.in_words(time.time())}") if as_page else host_svg(host))


def _is_coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _log(options: argparse.Namespace) -> None:
    runs = history.read()
    if options.json:
        sys.stdout.write(json.dumps(visible({"runs": [run.as_data() for run in runs]})) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in visible(log_lines(runs)))


def _metrics(_options: argparse.Namespace) -> None:
    from .metrics import observe_metrics

    # What a run that is under way has half made is no drift.
    with locked():
        sys.stdout.write(observe_metrics())


def _follow(options: argparse.Namespace) -> None:
    """Print a line of JSON once all is watched, and then one each time that something was done."""
    # A host that boots without this pays nothing for it.
    from .follow import Followed, follow

    def notify(followed: Followed) -> None:
        sys.stdout.write(json.dumps(visible(vars(followed))) + "\n")
        sys.stdout.flush()

    follow(notify, options.metrics or "")


def _confirm(_options: argparse.Namespace) -> None:
    from .confirmation import confirm

    confirmed = confirm()
    if not confirmed:
        raise ConflictError.at("there is nothing to confirm", NOTHING_UNCONFIRMED)
    sys.stdout.write(visible(f"confirmed: the changes made by {confirmed.by} stay\n"))


def _revert(options: argparse.Namespace) -> None:
    from .watchdog import revert, watch

    def notify(message: str) -> None:
        sys.stdout.write(visible(f"{message}\n"))
        sys.stdout.flush()

    if options.at_deadline:
        watch(notify)
    else:
        revert(f"`wharf revert` of {_user()}", notify)


def _user() -> str:
    return os.environ.get("SUDO_USER") or "root"


def _recover(options: argparse.Namespace) -> None:
    """Recover the ledger, and say what wharf.network owns by it, by layer."""
    words = read_declaration(options.file) if options.file else {}
    call = Call(**words, recover=True, places=Places.of_command(options.file))
    was_lost, ledger = recover_ledger(call)
    owned = {layer: sorted(keys) for layer, keys in ledger.owned.items() if keys}
    if options.json:
        texts = {layer: list(map(" ".join, keys)) for layer, keys in owned.items()}
        sys.stdout.write(json.dumps(visible({"recovered": was_lost, "owned": texts})) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in visible([*recovered_lines(was_lost, owned)]))


def _converge(options: argparse.Namespace) -> int:
    """Bring the host to what is declared, and say what changed.

    Without a file this is what brings a host back that has been rebooted, or whose rules were flushed.
    """
    words = read_declaration(options.file) if options.file else {}
    if options.file and options.state == ABSENT:
        # A file that has nothing names nothing; only where there is none, everything goes.
        words = {**words, "networks": {} if words.get("networks") is None else words["networks"]}
    is_at_boot = options.command == "apply" and options.at_boot
    call = Call(
        **words,
        state=options.state,
        scopes=frozenset(options.scope or SCOPES),
        check=options.command == "diff",
        recover=options.recover,
        repeats=not options.file and options.state == PRESENT and not options.recover,
        confirm=options.confirm if options.command == "apply" else None,
        origin=AT_BOOT if is_at_boot else BY_HAND,
        by="the service `wharf`" if is_at_boot else f"`wharf apply` of {_user()}",
        places=Places.of_command(options.file),
    )
    result = converge(call)
    _print(result, options)
    return DIFFERS if call.check and result.changes else DONE


def _print(result: Result, options: argparse.Namespace) -> None:
    """One document for machines; for people what differs, and a line that sums it up."""
    if options.json:
        sys.stdout.write(json.dumps(visible(describe(result))) + "\n")
        return
    for warning in [*result.warnings, *([result.reverted] if result.reverted else [])]:
        sys.stderr.write(visible(f"warning: {warning}\n"))
    if options.command == "diff":
        sys.stdout.writelines(f"{line}\n" for line in unified(result, _is_coloured()))
    sys.stdout.write(visible(f"{summary(result, _NOTHING[options.command])}\n"))
    if result.unconfirmed:
        sys.stdout.write(f"reverted at {result.unconfirmed.until}, unless `wharf confirm` confirms it\n")


# Each ends with 0, unless it returns another code.
_COMMANDS: Dict[str, Callable[[argparse.Namespace], Optional[int]]] = {
    "show": _show,
    "log": _log,
    "metrics": _metrics,
    "diff": _converge,
    "apply": _converge,
    "confirm": _confirm,
    "revert": _revert,
    "recover": _recover,
    "follow": _follow,
    "explain": _explain,
}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
