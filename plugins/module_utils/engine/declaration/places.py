# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the entries of a declaration come from: messages name the place at which the user wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional

# The key under which an entry of a network, container, rule or host notes the place that it comes from.
SOURCE = "x-source"

# With this, the place of what restores the networks at boot ends.
_BOOT_KEY = "services"

STANDARD_INPUT = "-"

_VARIABLES = "wharf_"


def name_of_file(path: str) -> str:
    """The name in messages of a file that the command `wharf` is given."""
    return "standard input" if path == STANDARD_INPUT else path


@dataclass(frozen=True)
class Places:
    """The prefixes of places in messages.

    `parts` is for the parts of a declaration: `wharf_` for the variables of the roles (`wharf_networks.app`), empty
    for a module's options (`networks.app`), `host.json: ` for a file (`host.json: networks.app`). `options` is for
    other settings, such as `state`, which is `--state` for the command. `file` is the name of the file, empty for none.
    """

    parts: str = _VARIABLES
    options: str = _VARIABLES
    file: str = ""

    @classmethod
    def of_command(cls, path: Optional[str]) -> Places:
        """The prefixes for the command `wharf`, with a file at this path or without; `-` is the standard input."""
        if path is None:
            return cls("", "--")
        name = name_of_file(path)
        return cls(f"{name}: ", "--", name)

    def part(self, name: str) -> str:
        return f"{self.parts}{name}"

    def option(self, name: str) -> str:
        return f"{self.options}{name}"

    def of(self, raw: Any, name: str) -> str:
        """The place of an entry, which may be from an earlier call.

        Entries without a noted place are from variables. A value that is no mapping cannot note one, but it is an error
        and so always from this call.
        """
        if isinstance(raw, Mapping):
            return str(raw.get(SOURCE, f"{_VARIABLES}{name}"))
        return f"{_VARIABLES}{name}" if raw is None else self.part(name)

    def of_host(self, raw: Any) -> str:
        """The place of the host's settings, which may be missing."""
        return self.of(raw, "host") if raw else self.part("host")

    @staticmethod
    def of_boot(boot: Mapping[str, Any], key: str = "") -> str:
        """The place of what brings the networks back when the host boots, or of a setting of it: that of `services` is
        noted.
        """
        before = str(boot.get(SOURCE, f"{_VARIABLES}boot_{_BOOT_KEY}")).removesuffix(_BOOT_KEY)
        # Empty where the module `boot` has it from an option.
        return before + key if key else before.rstrip("._") or "boot"

    def marked(self, given: Mapping[str, Any]) -> Dict[str, Any]:
        """The parts of a declaration, in which each entry notes its place, unless they are from variables."""
        if self.parts == _VARIABLES:
            return dict(given)
        return {part: self._marked_part(part, raw) for part, raw in given.items()}

    def _marked_part(self, part: str, raw: Any) -> Any:
        path = self.part(part)
        if part == "host" and raw is not None:
            return _marked(raw, path)
        if part == "boot" and raw is not None:
            return _marked(raw, f"{path}.{_BOOT_KEY}")
        if part == "docker_user" and isinstance(raw, list):
            return [_marked(rule, f"{path}[{index}]") for index, rule in enumerate(raw)]
        if part in ("networks", "containers") and isinstance(raw, Mapping):
            return {key: _marked(entry, f"{path}.{key}") for key, entry in raw.items()}
        return raw


def _marked(raw: Any, path: str) -> Any:
    if not isinstance(raw, (Mapping, type(None))):
        return raw
    return {SOURCE: path, **(raw or {})}
