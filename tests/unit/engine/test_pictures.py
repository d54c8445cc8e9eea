# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each folder of `pictures/` is what was seen of a host in, and its picture out."""

from __future__ import annotations

from pathlib import Path

import golden
import pytest

from ansible_collections.wharf.network.plugins.module_utils.engine.drawing.text_picture import draw


@pytest.mark.parametrize("case", sorted((Path(__file__).parent / "pictures").iterdir()), ids=lambda case: case.name)
def test_picture(case: Path) -> None:
    drawn = draw(golden.read_yaml(case / "seen.yml"))
    golden.check(case, {"picture.txt": drawn}, given=("seen.yml",))
