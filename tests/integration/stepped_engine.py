# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`stepped_engine.py`: runs the engine, and stops before each thing it does to the kernel, and in the end.

The first line of the standard input is `[ARGUMENTS, STANDARD INPUT]` in JSON. At each stop a line says what is next,
and the engine goes on with the next line it is given; the last line is `[EXIT CODE, ERRORS]`. iptables-restore, which
commits table by table, is called for each table by itself.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from typing import Any

from deaths import before_each_change_of_the_kernel
from engine.command import main
from engine.kernel import conntrack
from engine.kernel.iptables_variants import Variant

reports, answers = sys.stdout, sys.stdin


def stop(before: str) -> None:
    print(json.dumps(before), file=reports, flush=True)
    answers.readline()


def restore_table_by_table(variant: Variant, script: str) -> None:
    for table in re.findall(r"^\*.*?^COMMIT\n", script, re.MULTILINE | re.DOTALL):
        restore(variant, table)


def forget(*ports: Any) -> None:
    stop("forget")
    forget_flows(*ports)


restore, Variant.restore = Variant.restore, restore_table_by_table
forget_flows, conntrack.forget = conntrack.forget, forget
before_each_change_of_the_kernel(stop)
arguments, given = json.loads(answers.readline())
errors = io.StringIO()
sys.stdin = io.TextIOWrapper(io.BytesIO(given.encode()))
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
    code = main(arguments)
stop("the end")
print(json.dumps([code, errors.getvalue()]), file=reports, flush=True)
