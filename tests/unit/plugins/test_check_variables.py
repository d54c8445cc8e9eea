# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action that checks variables reports all that is wrong with them at once."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar, trust_as_template

from ansible_collections.wharf.network.plugins.action.check_variables import ActionModule


def checked(variables: dict[str, Any]) -> dict[str, Any]:
    loader = DataLoader()
    templar = Templar(loader, variables)
    action = ActionModule(Task(), Mock(), Mock(), loader, templar, Mock())
    return action.run(task_vars=variables)


def test_a_misspelt_variable_and_a_wrong_value_come_in_one_report() -> None:
    result = checked({"wharf_contaners": {}, "wharf_boot": "maybe", "wharf_state": "gone"})
    assert result["failed"]
    assert {problem["path"] for problem in result["problems"]} == {"wharf_contaners", "wharf_boot", "wharf_state"}


@pytest.mark.parametrize("value", ["{{ nowhere.at.all }}", "{{ 1 / 0 }}"])
def test_a_misspelt_variable_is_reported_where_another_one_cannot_be_templated(value: str) -> None:
    given = {"wharf_host": trust_as_template(value)}
    assert [problem["path"] for problem in checked({**given, "wharf_sate": "x"})["problems"]] == ["wharf_sate"]
    with pytest.raises(AnsibleError):
        checked(given)


def test_right_variables_pass() -> None:
    result = checked({"wharf_networks": {"app": {}}, "wharf_boot": "false"})
    assert (result["declaring"], result["settings"]["boot"]) == (["wharf_networks"], False)
