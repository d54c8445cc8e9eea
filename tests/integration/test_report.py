# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a fleet: made by the playbook, and by the command of one host, and looked at in a real browser."""

from __future__ import annotations

import copy
import json
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from browser import Browser, program
from fleets import GROUPS, Fleet
from hosts import ABSENT, ThrowawayHost, differences

from ansible_collections.wharf.network.plugins.filter.report import report

WORDS: dict[str, Any] = {
    "networks": {"front": {"enable_ipv6": True}, "back": {"internal": True}},
    "containers": {
        "web": {"networks": ["front", "back"], "ports": ["8080:80"]},
        "side": {"network_mode": "service:web"},
        "api": {
            "networks": ["front", "back"],
            "ports": [{"target": 9000, "published": "9000", "x-wharf": {"allow_from": ["10.0.0.0/8"]}}],
        },
        "db": {"networks": ["back"]},
        "late": {"networks": ["front"], "ports": ["7000:7000"], "x-wharf": {"sandbox": "path:/run/late/ns"}},
        "monitor": {"network_mode": "host"},
        "job": {"network_mode": "none"},
    },
}

VERIFY = "from engine.verification import Request, verify; verify(Request(timeout=0.3))"


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, Any]]:
    """What `network_info` says of a host, on which one way is not as declared, and one object differs."""
    with ThrowawayHost.started() as host:
        before = host.snapshot()
        host.apply(WORDS)
        host.run("nft 'add table ip strange; add chain ip strange out { type filter hook output priority 0; }'")
        host.run("nft add rule ip strange out tcp dport 8080 drop")
        ran = host.run(" ".join(host.engine_command("-c", f"'{VERIFY}'")).partition(" -- ")[2])
        assert ran == ""
        host.run("ip link set br-back mtu 1400")
        script = "import json; from engine import verified; print(json.dumps(verified.read()))"
        verified = json.loads(host.run(" ".join(host.engine_command("-c", f"'{script}'")).partition(" -- ")[2]))
        found = {**host.observed(), "verified": verified}
        svg, page = host.wharf("show", "--svg"), host.wharf("show", "--html")
        assert (svg.code, page.code, svg.errors, page.errors) == (0, 0, "", "")
        found["made"] = {"svg": svg.output, "page": page.output}
        host.run("nft delete table ip strange")
        host.apply({}, ABSENT)
        assert differences(before, host.snapshot()) == ""
        yield found


def test_a_host_shows_itself(seen: dict[str, Any]) -> None:
    root = ElementTree.fromstring(seen["made"]["svg"])
    texts = [text for element in root.iter() if element.tag.endswith("}text") for text in element.itertext()]
    for expected in ("web + side", "back", "br-front", "*:8080", "80/tcp", "only 10.0.0.0/8", "everybody"):
        assert any(expected in text for text in texts), expected
    assert "in the host's own stack:  monitor" in texts
    assert seen["made"]["page"].startswith("<!DOCTYPE html>")
    assert seen["made"]["page"].count('<details class="host"') == 1


def fleet_of(seen: dict[str, Any], number: int) -> dict[str, Any]:
    """Hosts that differ: in trouble, not reached, on two subnets, and some on a network that goes from host to host."""
    hosts: dict[str, Any] = {}
    for each in range(number):
        host = copy.deepcopy({key: value for key, value in seen.items() if key != "made"})
        if each % 5:
            host.update(drift={}, trouble=[], pending=[])
            host["containers"].pop("late")
            host["verified"]["probes"] = [probe for probe in host["verified"]["probes"] if probe["fulfilled"]]
        for link in host["interfaces"]:
            if link["name"] == "eth0":
                link["addresses"] = [f"{'192.0.2' if each % 3 else '198.51.100'}.{each + 10}/24"]
        if each % 2:
            mesh = {"driver": "overlay", "subnets": ["10.9.0.0/16"], "gateways": [], "vni": 4097, "bridge": "br-mesh"}
            host["networks"]["mesh"] = {**host["networks"]["back"], **mesh, "endpoints": []}
        hosts[f"host{each}"] = host
    if number > 3:
        hosts["host3"] = {"unreachable": True, "msg": "Connection timed out <during> banner exchange"}
    return hosts


HOSTILE = "<script>alert(1)</script>\"'&\x1b]0;x\x07\u202e<img src=x onerror=alert(1)>{{ 7*7 }}</style>"


def hostile(thing: Any) -> Any:
    """Each text that is no address, number or choice becomes one that would like to be code."""
    if isinstance(thing, dict):
        return {key: value if key in _CHOICES else hostile(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [hostile(each) for each in thing]
    is_name = isinstance(thing, str) and not re.fullmatch(r"[0-9a-f.:/]*", thing)
    return f"{thing}{HOSTILE}" if is_name else thing


_CHOICES = ("from", "to", "protocol", "state", "mode", "kind", "action", "addresses", "routes", "shares", "expected")


def test_nothing_from_elsewhere_becomes_a_part_of_the_page(seen: dict[str, Any]) -> None:
    """Root in a container, and who names things, writes what he likes."""
    plain, attacked = report({"h": seen}), report({f"h{HOSTILE}": hostile(seen), "gone": {"msg": HOSTILE}})
    for page in (plain, attacked):
        assert page.count("<script>") == page.count("</script>") == 1
        assert page.count("<style>") == page.count("</style>") == 1
        assert "<img" not in page
        assert "\x1b" not in page
        for tag in set(re.findall(r"<(\w+)", page)):
            assert tag in _TAGS, tag
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in attacked
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:|//)", plain)


_TAGS = (
    "html head meta title style body header h1 h2 p ul li b search input label button output section svg g text path "
    "rect circle a main details summary span div table thead tbody tr th td script"
).split()


def test_a_fleet_has_its_page(fleet: Fleet, tmp_path: Path) -> None:
    first, second, *_others = fleet.hosts
    for name in fleet.of("web"):
        fleet.hosts[name].apply({part.removeprefix("wharf_"): words for part, words in GROUPS["web"].items()})
    fleet.hosts[first].run("ip link set br-front mtu 1400")
    fleet.disconnect(second)
    before = {name: host.snapshot() for name, host in fleet.hosts.items()}
    path = tmp_path / "page.html"
    options = ["-e", f"wharf_report_file={path}", "-e", "wharf_report_verify=true"]
    made = fleet.play("wharf.network.report", *options)
    assert made.of(first)["failed"] == 0, made.output
    page = path.read_text(encoding="utf-8")
    assert page.count('<details class="host"') == len(fleet.hosts)
    assert re.search(rf'data-name="{first}".*?bridge br-front is changed \(mtu\)', page, re.DOTALL)
    assert "<summary>Probes: " in page
    assert re.search(rf'data-name="{second}".*?not observed', page, re.DOTALL)
    for name, host in fleet.hosts.items():
        assert differences(before[name], host.snapshot()) == "", name


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if program() is None:
        pytest.skip("there is no Chromium: the page is not looked at (Debian: chromium)")
    with Browser.started(tmp_path_factory.mktemp("browser")) as started:
        yield started


OUTPUT = Path(__file__).parents[1] / "output/report"


LOOKS = {"light": (1160, False), "dark": (1160, True), "narrow": (420, False)}


@pytest.mark.parametrize(("number", "looks"), [(1, LOOKS), (10, LOOKS), (100, ["light"])])
def test_the_page_in_a_browser(
    browser: Browser, seen: dict[str, Any], tmp_path: Path, number: int, looks: Iterable[str]
) -> None:
    """The pictures are left in tests/output, to be looked at by people, too."""
    path = tmp_path / "page.html"
    path.write_text(report(fleet_of(seen, number)), encoding="utf-8")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for name in looks:
        width, dark = LOOKS[name]
        browser.open(path, width, 1400, dark)
        picture = browser.screenshot(OUTPUT / f"{number}-{name}.png")
        assert struct.unpack(">II", picture[16:24]) == (width, 1400)
        assert is_dark(picture) is dark
        # Nothing is wider than the page: what is too wide is moved within its own frame.
        assert browser.ask("document.documentElement.scrollWidth") <= width
        assert browser.ask("document.querySelectorAll('details.host').length") == number
        assert browser.ask("performance.getEntriesByType('resource').length") == 0
    assert browser.ask("!!document.querySelector('.fleet')") is (number > 1)
    if number == 10:
        assert browser.print(OUTPUT / f"{number}.pdf").startswith(b"%PDF")


def test_what_is_searched_is_found_and_all_else_is_left_out(
    browser: Browser, seen: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    path.write_text(report(fleet_of(seen, 10)), encoding="utf-8")
    browser.open(path)
    visible = "[...document.querySelectorAll('{}')].filter(each => !each.closest('[hidden]')).length"
    rows, hosts = visible.format("svg.row"), visible.format("details.host")
    everything = browser.ask(rows), browser.ask(hosts)

    def search(words: str) -> tuple[Any, Any]:
        browser.ask(f"input.value = {json.dumps(words)}; input.dispatchEvent(new Event('input'))")
        return browser.ask(rows), browser.ask(hosts)

    assert search("host1 web 8080") == (1, 1)
    assert browser.ask("document.querySelector('#h1').open")
    assert browser.ask("document.querySelector('output').textContent") == "1 of 10 hosts, 1 rows"
    assert search("host1 web")[0] == 2
    assert search("9000")[1] == 9
    assert search("there is no such thing") == (0, 0)
    assert search("") == everything
    browser.ask("document.querySelector('.tools input[type=checkbox]').click()")
    # Two are in trouble, and one was not reached.
    assert browser.ask(hosts) == 3
    browser.ask("document.querySelector('.fleet a').dispatchEvent(new MouseEvent('click', {bubbles: true}))")


def test_no_script_but_the_pages_own_runs(browser: Browser, seen: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    page = report({"h": hostile(seen)}).replace("<main>", "<main><script>document.title = 'owned'</script>")
    path.write_text(page, encoding="utf-8")
    browser.open(path)
    assert browser.ask("document.title") == "Container networks"
    assert browser.ask("document.querySelectorAll('img, iframe, object, link').length") == 0


def is_dark(picture: bytes) -> bool:
    """By the first pixel, which is the page's own background."""
    data, at = b"", 8
    while at < len(picture):
        (length,) = struct.unpack(">I", picture[at : at + 4])
        if picture[at + 4 : at + 8] == b"IDAT":
            data += picture[at + 8 : at + 8 + length]
        at += length + 12
    # The first line's filter, which means nothing to the first pixel, and then red, green and blue.
    pixel = zlib.decompressobj().decompress(data, 4)
    return sum(pixel[1:4]) < 3 * 128
