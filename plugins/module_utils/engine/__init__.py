# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: what brings a host to what is declared. It knows nothing of Ansible.

Ansible sends it as a zip archive, and the command `wharf` is one, so every run compiles each module that it imports.
Python's own importer compiles a module twice: first to tell the name of its file, then to run it. Half of a run's time
would go into that, so in an archive the engine has an importer that compiles once.
"""

from __future__ import annotations

import sys
from types import CodeType
from typing import Dict
from zipimport import ZipImportError, zipimporter


class _CompilesOnce(zipimporter):
    """Keeps the code of a module whose file's name is asked for until the module is run."""

    def __init__(self, path: str) -> None:
        if not path.startswith(__path__[0]):
            raise ZipImportError(f"{path} is not of the engine", path=path)
        super().__init__(path)
        self._compiled: Dict[str, CodeType] = {}

    def get_filename(self, fullname: str) -> str:
        code = self._compiled[fullname] = super().get_code(fullname)
        return code.co_filename

    def get_code(self, fullname: str) -> CodeType:
        return self._compiled.pop(fullname, None) or super().get_code(fullname)


# Python 3.9 does not ask an importer for the code that it runs.
if sys.version_info >= (3, 10) and __spec__ and isinstance(__spec__.loader, zipimporter):
    sys.path_hooks.insert(0, _CompilesOnce)
