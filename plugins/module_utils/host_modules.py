# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each module does on the host: runs the engine, and returns its result to Ansible.

Each imports its own part of the engine when it is called: what is imported takes time, and more where nothing is
compiled yet.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, FrozenSet, Iterator, Sequence

from .engine.errors import ProblemsError, WharfError
from .engine.run_lock import locked
from .engine.visible import visible


def layers(module: Any) -> None:
    """Converge the layers that the options name."""
    from .engine.declaration.declared import PARTS

    for option in ("compose_files", "runtime"):
        if module.params[option]:
            _fail(module, f"{option} is read on the controller: call this module by its full name")
    given = {part: module.params[part] for part in PARTS.values()}
    _converge(module, module.params["layers"], frozenset(module.params["scope"]), given)


def boot(module: Any) -> None:
    """Converge what brings the networks back when the host boots."""
    from .engine.declaration.places import SOURCE
    from .engine.layers import BOOT

    given: Dict[str, Any] = {SOURCE: f"{module.params['variable_prefix']}services"}
    given.update({key: module.params[key] for key in ("services", "metrics") if module.params[key] is not None})
    _converge(module, [BOOT.name], frozenset([BOOT.name]), {"boot": given})


def overlay_key(module: Any) -> None:
    """Return the public key of this host, which has a private one from then on, if its kernel has WireGuard."""
    from .engine.kernel.wireguard import is_known
    from .engine.resources.links import wireguard_key

    if not is_known():
        # The task that declares the network says what to do about that.
        _exit(module, changed=False, public_key=None)
    with _reporting_errors(module), locked(lambda message: _warn(module, message)):
        is_new = not wireguard_key.found()
        key = wireguard_key.public_key(make=not module.check_mode)
    _exit(module, changed=is_new, public_key=key)


def confirm(module: Any) -> None:
    """Confirm the changes of a run."""
    from .engine.confirmation import confirm as confirm_run

    confirmed = None
    with _reporting_errors(module):
        # In check mode there is nothing to confirm: what earlier tasks of the play would change has not been changed.
        if not module.check_mode:
            confirmed = confirm_run(module.params["run"])
    _exit(module, changed=confirmed is not None, confirmed=confirmed.as_data() if confirmed else None)


def network_info(module: Any) -> None:
    """Return what is there."""
    from .engine import verified
    from .engine.drawing.text_picture import draw
    from .engine.observation import observe

    # What a run that is under way has half made is no drift.
    with _reporting_errors(module), locked(lambda message: _warn(module, message)):
        seen = observe()
    if module.params["verified"]:
        seen["verified"] = verified.read()
    _exit(module, **seen, picture=draw(seen))


def probe(module: Any) -> None:
    """Send packets, and return what became of them."""
    from .engine import verified
    from .engine.verification import Request, failures, unproven, verify

    given = module.params
    if given["from_others"] is not None:
        with _reporting_errors(module), locked(lambda message: _warn(module, message)):
            verified.keep_from_others(given["from_others"])
        _exit(module, changed=False)
        return
    derive = given["derive"] if given["derive"] is not None else not given["probes"]
    with _reporting_errors(module):
        request = Request(given["probes"], derive, given["timeout"], given["beyond"], given["addresses"])
        found = verify(request, lambda message: _warn(module, message))
    if derive and found.pending:
        _warn(module, f"nothing is proven of containers that are not there yet: {', '.join(found.pending)}")
    if derive and not found.rows:
        _warn(module, "nothing was proven: nothing that could be probed is declared on this host")
    lines = {
        "nothing": [],
        "mismatch": failures(found),
        "unproven": [*failures(found), *unproven(found)],
    }[given["fail_on"]]
    if lines:
        _fail(module, "\n".join(lines), **found.as_data())
    _exit(module, changed=False, **found.as_data())


def explain(module: Any) -> None:
    """Return whether and why a packet passes."""
    from .engine.explain import Asked, lines
    from .engine.explain import explain as explain_packet
    from .engine.explanation.question import OptionNames

    given = module.params
    asked = Asked(given["from"], given["to"], given["icmp"], given["send"], OptionNames("from", "to", "icmp", "send"))
    with _reporting_errors(module):
        explained = explain_packet(asked, lambda message: _warn(module, message))
    _exit(module, changed=False, **explained, report=list(lines(explained)))


def _converge(module: Any, names: Sequence[str], scopes: FrozenSet[str], given: Dict[str, Any]) -> None:
    from .engine.converge import converge
    from .engine.declaration.declared import PLAY, Call
    from .engine.declaration.places import Places
    from .engine.layers import LAYERS
    from .engine.report import describe, diffs, summary

    prefix = module.params.get("variable_prefix", "")
    with _reporting_errors(module):
        call = Call(
            **given,
            state=module.params["state"],
            scopes=scopes,
            check=module.check_mode,
            recover=module.params.get("recover", False),
            confirm=module.params.get("confirm"),
            peer_keys=module.params.get("peer_keys") or {},
            origin=PLAY,
            by=module.params.get("by", "a module"),
            places=Places(prefix, prefix),
        )
        chosen = [layer for layer in LAYERS if layer.name in names]
        result = converge(call, chosen, notify=lambda message: _warn(module, message))
    report = describe(result)
    for warning in report.pop("warnings"):
        _warn(module, warning)
    if result.reverted:
        _warn(module, str(result.reverted))
    awaited = ", ".join(name for (_kind, name), reason in result.pending.items() if not reason)
    if awaited:
        _warn(module, f"pending until their containers run: {awaited}")
    if module._diff:
        report["diff"] = diffs(result)
    _exit(module, msg=summary(result), **report)


@contextmanager
def _reporting_errors(module: Any) -> Iterator[None]:
    """Leave with an error of the engine as the module's own; `problems` has those that the user can solve."""
    try:
        yield
    except ProblemsError as error:
        problems: list[dict[str, Any]] = [vars(problem) for problem in error.problems]
        _fail(module, str(error), problems=problems)
    except (WharfError, OSError) as error:
        _fail(module, str(error))


# Ansible refuses a result that is not UTF-8, so all of the result is escaped where it is not printable.


def _exit(module: Any, **result: Any) -> None:
    module.exit_json(**visible(result))


def _fail(module: Any, message: str, **result: Any) -> None:
    module.fail_json(msg=visible(message), **visible(result))


def _warn(module: Any, warning: str) -> None:
    module.warn(visible(warning))
