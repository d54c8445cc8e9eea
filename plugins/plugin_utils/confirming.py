# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirms the changes of a run through a new connection to the host: one that stands proves nothing."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.connection import ConnectionBase

# Seconds.
_TRY_AGAIN_AFTER = 1.0

_LOCAL = (
    "the connection is local, so the confirmation does not prove that this host is reached by the network; the changes "
    "are confirmed all the same"
)


def confirm_by_new_connection(ask: Callable[[], dict[str, Any]], connection: Any, seconds: float) -> dict[str, Any]:
    """Ask the host to confirm a run, each time through a new connection, until it answers.

    Returns:
        What the module says; or, after so many seconds, that the host was not reached, and why.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = _try(ask, connection, deadline - time.monotonic())
        # What the engine itself refuses stays refused.
        if "confirmed" in result or "problems" in result:
            break
        if time.monotonic() + _TRY_AGAIN_AFTER >= deadline:
            reason = result.get("module_stderr") or result.get("msg") or "it does not answer"
            words = " ".join(str(reason).split())
            return {"failed": True, "msg": f"no new connection to this host succeeds: {words}"}
        time.sleep(_TRY_AGAIN_AFTER)
    if connection.transport == "local":
        result["warnings"] = [*result.get("warnings", []), _LOCAL]
    return result


def _try(ask: Callable[[], dict[str, Any]], connection: Any, seconds: float) -> dict[str, Any]:
    try:
        with _new(connection, seconds):
            return ask()
    except AnsibleError as error:
        return {"failed": True, "msg": str(error)}


@contextmanager
def _new(connection: Any, seconds: float) -> Iterator[None]:
    """Within the block a connection is made anew, also where ssh shares one (ControlPersist), and not for ever."""
    if type(connection).reset is not ConnectionBase.reset:
        connection.reset()
    try:
        usual = connection.get_option("timeout")
    except KeyError:
        # Nothing that waits, such as a local connection.
        yield
        return
    connection.set_option("timeout", max(1, min(int(usual), int(seconds))))
    try:
        yield
    finally:
        connection.set_option("timeout", usual)


def play(task_vars: Mapping[str, Any]) -> str:
    """Who makes a run, in words."""
    name = task_vars.get("ansible_play_name") or "without a name"
    job = task_vars.get("awx_job_id") or task_vars.get("tower_job_id")
    return f'the play "{name}" of {f"job {job} of AWX" if job else f"{_user()} at {os.uname().nodename}"}'


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # As in a container, whose user may have no name.
        return f"user {os.getuid()}"
