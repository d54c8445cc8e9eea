# SPDX-License-Identifier: GPL-3.0-or-later
"""A shell, or the given command, in a throwaway host of the tests, where `ansible-playbook` finds this collection."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
sys.path.insert(0, str(CHECKOUT / "tests/integration"))

from controller import settings  # noqa: E402
from hosts import HOST, OUTSIDE, ThrowawayHost  # noqa: E402

with ThrowawayHost.started() as host, tempfile.TemporaryDirectory() as home:
    print(f"another machine, at 192.0.2.1: nsenter --net={host.path(OUTSIDE)}", file=sys.stderr)
    path = f"{CHECKOUT}/.venv/bin:{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin"
    # To enter a mount namespace leads to its root.
    here = ["sh", "-c", 'cd "$0" && exec "$@"', os.getcwd()]
    command = [*host.enter(HOST), *here, *(sys.argv[1:] or ["bash", "--norc"])]
    sys.exit(subprocess.run(command, env={**settings(Path(home)), "PATH": path}, check=False).returncode)
