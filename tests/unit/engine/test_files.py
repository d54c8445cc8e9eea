# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are written in place: what is in them when there is no room, or the run is killed meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.kernel.disk import overwrite
from ansible_collections.wharf.network.plugins.module_utils.engine.resources.files.edits import digest, is_edited

SHORT, LONG = b"nameserver 192.0.2.1\n", b"nameserver 192.0.2.2\nsearch example.org\noptions ndots:0\n"


class Killed(BaseException):
    """The run ends on the spot, as by SIGKILL."""


def overwritten(path: Path, before: bytes, content: bytes) -> bytes:
    path.write_bytes(before)
    with path.open("r+b", buffering=0) as file:
        overwrite(file.fileno(), before, content)
    return path.read_bytes()


@pytest.mark.parametrize("before, content", [(SHORT, LONG), (LONG, SHORT), (b"", LONG), (LONG, b""), (LONG, LONG)])
def test_a_file_has_its_new_content(tmp_path: Path, before: bytes, content: bytes) -> None:
    assert overwritten(tmp_path / "file", before, content) == content


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("before, content", [(SHORT, LONG), (b"", LONG)])
def test_a_file_keeps_its_content_where_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, before: bytes, content: bytes
) -> None:
    monkeypatch.setattr(os, "pwrite", with_room_for(len(before) + 10, os.pwrite, number))
    with pytest.raises(OSError, match=os.strerror(number)):
        overwritten(tmp_path / "file", before, content)
    assert (tmp_path / "file").read_bytes() == before


def with_room_for(size: int, write: Callable[[int, bytes, int], int], number: int) -> Callable[[int, bytes, int], int]:
    def write_what_fits(descriptor: int, content: bytes, offset: int) -> int:
        fitting = content[: max(size - offset, 0)]
        if not fitting:
            raise OSError(number, os.strerror(number))
        return write(descriptor, fitting, offset)

    return write_what_fits


@pytest.mark.parametrize("before, content", [(SHORT, LONG), (LONG, SHORT)])
def test_what_a_killed_run_leaves_is_not_taken_for_an_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes, content: bytes
) -> None:
    def die(_descriptor: int, _size: int) -> None:
        raise Killed

    monkeypatch.setattr(os, "ftruncate", die)
    with pytest.raises(Killed):
        overwritten(tmp_path / "file", before, content)
    left = (tmp_path / "file").read_text()
    digests = [digest(before.decode()), digest(content.decode())]
    assert not is_edited(digests, left, content.decode())
    assert not is_edited(digests, left, "something else that is declared by now\n")
    assert is_edited(digests, f"{left}options debug\n", content.decode())
