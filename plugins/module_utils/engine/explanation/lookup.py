# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that only a nameserver knows, looked up as a program on the host or in a container would."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from contextlib import suppress
from typing import Dict, List, Optional, Sequence

from ..declaration.model import Container
from ..declaration.section import is_address
from ..kernel import namespaces
from ..planning.host_files import contents_of
from ..planning.plan import Plan
from ..resources.links.stacks import sandbox_path

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
# Seconds, for all nameservers together.
_MOST = 10

# The host's own program, with the files of the container, in its network: nothing of the container is run. Only files
# and nameservers are asked, and no service of the host.
_NSSWITCH = "hosts: files dns\n"
_SCRIPT = """
cd "$1"
for file in *; do mount --bind "$file" "/etc/$file"; done
exec nsenter --net="$2" getent ahosts "$3"
"""


def look_up(name: str, container: Optional[Container], plan: Plan) -> List[str]:
    """The addresses that the name has for the container, or for the host; none if no nameserver says one, or the
    container does not run.

    The container's files are taken as they are declared.
    """
    if not _NAME.fullmatch(name):
        return []
    if container is None:
        return _addresses(["getent", "ahosts", name])
    path, files = sandbox_path(plan.model.owner_of_stack(container).sandbox), _files(container, plan)
    if not files or not namespaces.is_namespace(path):
        return []
    with tempfile.TemporaryDirectory(prefix="wharf-names-") as folder:
        for file, content in files.items():
            with open(os.path.join(folder, file), "w", encoding="utf-8") as written:
                written.write(content)
        return _addresses(["unshare", "--mount", "sh", "-ec", _SCRIPT, "sh", folder, path, name])


def _files(container: Container, plan: Plan) -> Dict[str, str]:
    """By their names in /etc: those that say how names are looked up, and are on the host, too."""
    contents = contents_of(plan, container)
    contents = {**contents, "nsswitch.conf": _NSSWITCH} if contents else {}
    return {file: content for file, content in contents.items() if os.path.exists(f"/etc/{file}")}


def _addresses(command: Sequence[str]) -> List[str]:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "RES_OPTIONS": "timeout:2 attempts:1"}
    with suppress(OSError, subprocess.TimeoutExpired):
        # There is no run_command in an engine that also runs without Ansible.
        ran = subprocess.run(  # pylint: disable=ansible-bad-function
            command, capture_output=True, text=True, check=False, timeout=_MOST, env=environment
        )
        found = dict.fromkeys(line.partition(" ")[0] for line in ran.stdout.splitlines())
        return [address for address in found if is_address(address)]
    return []
