# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter and the test as Ansible's templates know them: by full name, and on values that carry tags."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COLLECTIONS = Path(__file__).parents[3] / ".venv/collections"

TEMPLATES = {
    "allotted": "{{ (declaration | wharf.network.plan).allotted.endpoints['web/front'].ipv4 }}",
    "with arguments": "{{ (declaration | wharf.network.plan(mtu=1400)).layers.bridge.0.mtu }}",
    "a text": "{{ ({'containers': 'ssh: {ports: [22:22]}'} | wharf.network.plan).allotted.endpoints.keys() | list }}",
    "a problem": "{{ {'networks': {'a': {'internal': 'so-so'}}} | wharf.network.plan }}",
    "same": "{{ ['10.0.0.1/24', '10.0.0.9'] is wharf.network.same_network }}",
    "not same": "{{ ['10.0.0.1/24', '10.0.9.9'] is not wharf.network.same_network }}",
    "no list": "{{ '10.0.0.1/24' is wharf.network.same_network }}",
}

# In a process of its own, where Ansible alone says what ansible_collections is
SCRIPT = """
import json, sys
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader([sys.argv[1]])
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

given = json.load(sys.stdin)
templar = Templar(loader=DataLoader(), variables=given["variables"])

def rendered(template):
    try:
        return templar.template(trust_as_template(template))
    except Exception as error:
        return f"error: {error}"

print(json.dumps({name: rendered(template) for name, template in given["templates"].items()}))
"""


@pytest.fixture(scope="module")
def rendered() -> dict[str, Any]:
    declaration = {"networks": {"front": None}, "containers": {"web": {"networks": ["front"]}}}
    given = {"variables": {"declaration": declaration}, "templates": TEMPLATES}
    command = [sys.executable, "-c", SCRIPT, str(COLLECTIONS)]
    ran = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))


def test_the_filter(rendered: dict[str, Any]) -> None:
    assert rendered["allotted"] == "172.18.0.2"
    assert rendered["with arguments"] == 1400
    assert rendered["a text"] == ["ssh/bridge"]


def test_the_test(rendered: dict[str, Any]) -> None:
    assert rendered["same"] is True
    assert rendered["not same"] is True


def test_errors_say_what_is_wrong(rendered: dict[str, Any]) -> None:
    assert 'networks.a.internal: "so-so": must be true or false' in rendered["a problem"]
    assert "takes a list of addresses" in rendered["no list"]
