# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys `dns`, `dhcp`, `ra` and `boot` below a network's `x-wharf` -> the services of its dnsmasq."""

from __future__ import annotations

import re
from typing import Any, Iterator, List, Tuple

from ..errors import ModelError, ProblemCollector
from . import section as read
from .section import Section, whole_section, wrong
from .services import (
    ARCHITECTURES,
    CNAME,
    HOST_RECORD,
    RA_MODES,
    SLAAC,
    SRV,
    TXT,
    AddressRange,
    Boot,
    Dhcp,
    DnsSettings,
    Record,
    Services,
)

RECORD_TYPES = ("A", "AAAA", CNAME, SRV, TXT)
_MOST_TEXT = 255


def parse_services(extension: Section) -> Services:
    """The services of a network that its `x-wharf` declares."""
    return Services(
        names=extension.take("dns", _names, DnsSettings()),
        dhcp=extension.take_optional("dhcp", _dhcp),
        ra=extension.take("ra", _ra, ""),
        boot=extension.take_optional("boot", _boot),
    )


def _names(value: Any, path: str) -> DnsSettings:
    if isinstance(value, bool):
        return DnsSettings(answered=value)
    with whole_section(value, path) as section:
        names = DnsSettings(
            answered=True,
            domain=section.take("domain", _domain, ""),
            upstreams=section.take_all("upstreams", read.list_of(read.address)),
            records=section.take_all("records", _records),
        )
    return names


def _domain(value: Any, path: str) -> str:
    return read.host_name(value, path).lower()


def _records(value: Any, path: str) -> Tuple[Record, ...]:
    """`NAME: {TYPE: DATA}`, where the data may be a list of several."""
    problems = ProblemCollector()
    records: List[Record] = []
    for name, types in read.mapping(value, path).items():
        where = f"{path}.{name}"
        with problems.collect():
            read.dns_name(name, where)
            given = read.mapping(types, where)
            if CNAME in given and len(given) > 1:
                raise ModelError.at(where, "a name with a CNAME has no other records (RFC 2181): leave the others out")
            for kind, data in given.items():
                with problems.collect():
                    records += _records_of(name, kind, data, f"{where}.{kind}")
    problems.raise_if_any()
    return tuple(records)


def _records_of(name: str, kind: str, data: Any, path: str) -> Iterator[Record]:
    if kind not in RECORD_TYPES:
        raise wrong(path, kind, f"the types of records here are {', '.join(RECORD_TYPES)}")
    items = [data] if isinstance(data, dict) else list(data) if isinstance(data, (list, tuple)) else [data]
    if kind == CNAME and len(items) != 1:
        raise wrong(path, data, "must be one name")
    for item in items:
        if kind in ("A", "AAAA"):
            yield Record(path, name, HOST_RECORD, (str(read.address_of(4 if kind == "A" else 6)(item, path)),))
        elif kind == CNAME:
            yield Record(path, name, kind, (read.dns_name(item, path),))
        elif kind == SRV:
            yield Record(path, name, kind, _service(item, path))
        else:
            yield Record(path, name, kind, (_text(item, path),))


def _service(value: Any, path: str) -> Tuple[str, ...]:
    """`PRIORITY WEIGHT PORT TARGET`, as in a zone file, or a mapping of these."""
    if isinstance(value, dict):
        with whole_section(value, path) as section:
            given = [section.take(key, read.text, "") for key in ("priority", "weight", "port", "target")]
        value = " ".join(given)
    fields = read.text(value, path).split()
    if len(fields) != 4 or not all(re.fullmatch("[0-9]{1,5}", field) and int(field) <= 65535 for field in fields[:3]):
        raise wrong(path, value, "must be PRIORITY WEIGHT PORT TARGET, such as 0 5 389 ldap")
    return (*fields[:3], read.dns_name(fields[3], path))


def _text(value: Any, path: str) -> str:
    text = read.one_line(value, path)
    if '"' in text or len(text.encode()) > _MOST_TEXT:
        raise wrong(path, text, f"must be a text of at most {_MOST_TEXT} bytes without double quotes")
    return text


def _dhcp(value: Any, path: str) -> Dhcp:
    if value is True:
        return Dhcp(path)
    with whole_section(value, path) as section:
        dhcp = Dhcp(
            path=path,
            ranges=section.take_all("range", read.list_of(_range)),
            lease_time=section.take("lease_time", _lease_time, "1h"),
            options=section.take_all("options", _dhcp_options),
        )
    return dhcp


def _range(value: Any, path: str) -> AddressRange:
    """`FIRST-LAST`, or a part of the subnet as a prefix."""
    text = read.text(value, path)
    if "/" in text:
        part = read.subnet(text, path)
        return AddressRange(path, part[0], part[-1])
    first, dash, last = text.partition("-")
    if not dash:
        raise wrong(path, value, "must be FIRST-LAST, such as 10.1.0.100-10.1.0.199, or a prefix such as 10.1.0.128/25")
    found = AddressRange(path, read.address(first.strip(), path), read.address(last.strip(), path))
    if found.first.version != found.last.version or int(found.first) > int(found.last):
        raise wrong(path, value, "the second address must be the greater one, and of the same family")
    return found


def _lease_time(value: Any, path: str) -> str:
    text = read.text(value, path)
    if text != "infinite" and not re.fullmatch(r"[1-9][0-9]{0,9}[smhdw]?", text):
        raise wrong(path, value, "must be seconds, or a number with m, h, d or w, or infinite")
    seconds = re.fullmatch(r"([0-9]+)s?", text)
    if seconds and int(seconds[1]) < 120:
        raise wrong(path, value, "dnsmasq gives no lease of less than 120 seconds")
    return text.rstrip("s")


def _dhcp_options(value: Any, path: str) -> Tuple[Tuple[str, Tuple[str, ...]], ...]:
    options = []
    for name, given in read.mapping(value, path).items():
        if not re.fullmatch(r"(option6?:)?[a-z0-9-]+", name):
            raise wrong(
                f"{path}.{name}", name, "must be an option's name or number in dnsmasq, such as ntp-server or 42"
            )
        items = given if isinstance(given, (list, tuple)) else [given]
        options.append((name, tuple(read.one_line(item, f"{path}.{name}") for item in items)))
    return tuple(options)


def _ra(value: Any, path: str) -> str:
    if value is False:
        return ""
    if value is True:
        return SLAAC
    if isinstance(value, dict):
        with whole_section(value, path) as section:
            mode = section.take("mode", _ra, SLAAC)
        return mode
    if value not in RA_MODES:
        raise wrong(path, value, f"must be one of {', '.join(RA_MODES)}")
    return str(value)


def _boot(value: Any, path: str) -> Boot:
    problems = ProblemCollector()
    section = Section(value, path, problems)
    boot = Boot(
        path=path,
        tftp_root=section.take("tftp_root", _folder, ""),
        file=section.take("file", _boot_file, ""),
        files=section.take_all("files", _boot_files),
        server=section.take_optional("server", read.address_of(4)),
    )
    section.finish()
    if isinstance(value, dict) and not value.get("file") and not value.get("files"):
        problems.add(path, "needs file, or files for each architecture of clients")
    problems.raise_if_any()
    return boot


def _folder(value: Any, path: str) -> str:
    folder = read.one_line(value, path)
    if not folder.startswith("/") or "," in folder:
        raise wrong(path, value, "must be the absolute path of a folder on the host, without commas")
    return folder


def _boot_file(value: Any, path: str) -> str:
    file = read.one_line(value, path)
    if "," in file:
        raise wrong(path, value, "must be a file's name without commas")
    return file


def _boot_files(value: Any, path: str) -> Tuple[Tuple[str, str], ...]:
    files = []
    for architecture, file in read.mapping(value, path).items():
        if architecture not in ARCHITECTURES:
            raise wrong(f"{path}.{architecture}", architecture, f"must be one of {', '.join(ARCHITECTURES)}")
        files.append((architecture, _boot_file(file, f"{path}.{architecture}")))
    return tuple(files)
