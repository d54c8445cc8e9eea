# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the words of a declaration stand: messages name the place that the user wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional

# Beside the words of a network, container, rule or host: the place that they are from.
SOURCE = "x-source"

STANDARD_INPUT = "-"

_VARIABLES = "wharf_"


def name_of_file(path: str) -> str:
    """What messages call a file that the command `wharf` is given."""
    return "standard input" if path == STANDARD_INPUT else path


@dataclass(frozen=True)
class Places:
    """What the names begin with of what a call is given.

    `parts` is for the parts of a declaration: `wharf_` for the variables of the roles (`wharf_networks.app`), nothing
    for a module's options (`networks.app`), `host.json: ` for a file (`host.json: networks.app`). `options` is for the
    rest, such as `state`, which beside a file is an option of the command (`--state`). `file` is the name of the file.
    """

    parts: str = _VARIABLES
    options: str = _VARIABLES
    file: str = ""

    @classmethod
    def of_command(cls, path: Optional[str]) -> Places:
        """Those of the command `wharf`, which may be given a file at this path, `-` being the standard input."""
        if path is None:
            return cls("", "--")
        name = name_of_file(path)
        return cls(f"{name}: ", "--", name)

    def part(self, name: str) -> str:
        return f"{self.parts}{name}"

    def option(self, name: str) -> str:
        return f"{self.options}{name}"

    def of(self, words: Any, name: str) -> str:
        """The place of an entry of a part, which may be known from an earlier call.

        Words without a mark are those of variables. What is no mapping has no room for one; it is wrong, so that no
        earlier call can have declared it.
        """
        if isinstance(words, Mapping):
            return str(words.get(SOURCE, f"{_VARIABLES}{name}"))
        return f"{_VARIABLES}{name}" if words is None else self.part(name)

    def of_host(self, words: Any) -> str:
        """The place of the host's words, of which there may be none."""
        return self.of(words, "host") if words else self.part("host")

    @staticmethod
    def of_boot_services(boot: Mapping[str, Any]) -> str:
        """The place of the one setting of what brings the networks back when the host boots."""
        return str(boot.get(SOURCE, f"{_VARIABLES}boot_services"))

    def marked(self, given: Mapping[str, Any]) -> Dict[str, Any]:
        """The parts of a declaration, with the place of each entry beside its words, unless variables have them."""
        if self.parts == _VARIABLES:
            return dict(given)
        return {part: self._marked_part(part, words) for part, words in given.items()}

    def _marked_part(self, part: str, words: Any) -> Any:
        path = self.part(part)
        if part == "host" and words is not None:
            return _marked(words, path)
        if part == "boot" and words is not None:
            return _marked(words, f"{path}.services")
        if part == "docker_user" and isinstance(words, list):
            return [_marked(rule, f"{path}[{index}]") for index, rule in enumerate(words)]
        if part in ("networks", "containers") and isinstance(words, Mapping):
            return {key: _marked(entry, f"{path}.{key}") for key, entry in words.items()}
        return words


def _marked(words: Any, path: str) -> Any:
    if not isinstance(words, (Mapping, type(None))):
        return words
    return {SOURCE: path, **(words or {})}
