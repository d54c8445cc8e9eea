# Copyright: (c) 2026, the wharf.network authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsers for declared values: each value becomes typed, or a problem that names its path."""

from __future__ import annotations

import base64
import difflib
import hashlib
import ipaddress
import json
import re
from contextlib import contextmanager, suppress
from typing import Any, Callable, Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, TypeVar, Union

from ..errors import ModelError, Problem, ProblemCollector
from .places import SOURCE
from .vocabulary import EXTENSION, EXTENSION_MEANS_NOTHING, is_extension, resembles_extension

T = TypeVar("T")
Parser = Callable[[Any, str], T]
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Subnet = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Interface = Union[ipaddress.IPv4Interface, ipaddress.IPv6Interface]

# An entry as it was given, before it is parsed.
Raw = Mapping[str, Any]

NOT_YET = "is not supported yet: leave it out"
_MOST_DIGITS = 18
BLANK = "has no value, and so would restrict nothing: give it a value, or leave the key out"


class WrongValueError(ModelError):
    """Quotes a value as declared; `reason` says what would be right."""

    def __init__(self, path: str, value: Any, reason: str) -> None:
        super().__init__(Problem(path, f"{json.dumps(value, default=str, ensure_ascii=False)}: {reason}"))
        self.reason = reason


def wrong(path: str, value: Any, reason: str) -> WrongValueError:
    return WrongValueError(path, value, reason)


def text(value: Any, path: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        hint = f', in quotes: "{str(value).lower()}"' if isinstance(value, bool) else ""
        raise wrong(path, value, f"must be a text{hint}")
    return str(value)


def nearest(word: str, known: Collection[str]) -> str:
    """The known word that this one is most likely a misspelling of; empty if none is close."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.7)), "")


def unknown_key(key: str, known: Collection[str], passed_over: Collection[str], otherwise: str) -> str:
    """The message about an unknown key. Of a key that is passed over it says so: it would have no effect."""
    if key[:1] in ("x", "X") and resembles_extension(key):
        return f"unknown key; {f'did you mean {EXTENSION}?' if EXTENSION in known else EXTENSION_MEANS_NOTHING}"
    near = nearest(key, [*known, *passed_over])
    if near in passed_over:
        return f"unknown key; did you mean {near}? That key is ignored, since it is not about networking"
    return f"unknown key; did you mean {near}?" if near else f"unknown key; {otherwise}"


def one_of(*known: str) -> Parser[str]:
    def parse(value: Any, path: str) -> str:
        word = text(value, path).lower()
        if word not in known:
            near = nearest(word, known)
            hint = f"; did you mean {near}?" if near else ""
            raise wrong(path, value, f"must be one of {', '.join(known)}{hint}")
        return word

    return parse


def flag(value: Any, path: str) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise wrong(path, value, "must be true or false")


def number(value: Any, path: str) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]+", str(value)):
        raise wrong(path, value, "must be a whole number")
    if len(str(value)) > _MOST_DIGITS:
        raise wrong(path, value, f"must be a whole number of at most {_MOST_DIGITS} digits")
    return int(value)


def number_from(least: int, most: int, rule: str) -> Parser[int]:
    def parse(value: Any, path: str) -> int:
        found = number(value, path)
        if not least <= found <= most:
            raise wrong(path, value, rule)
        return found

    return parse


# A link's MTU in bytes (RFC 791 for the least one).
mtu = number_from(68, 65535, "an MTU is from 68 to 65535 bytes")


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def address(value: Any, path: str) -> Address:
    try:
        return ipaddress.ip_address(text(value, path).strip("[]"))
    except ValueError:
        raise wrong(path, value, "must be an IPv4 or IPv6 address") from None


def address_of(version: int) -> Parser[Address]:
    return _of_version(version, address, f"must be an IPv{version} address")


def _of_version(version: int, parse: Parser[T], rule: str) -> Parser[T]:
    """A parser of what `parse` gives, if that is of this IP family."""

    def parse_version(value: Any, path: str) -> T:
        found: Any = parse(value, path)
        if found.version != version:
            raise wrong(path, value, rule)
        return found  # type: ignore[no-any-return]

    return parse_version


def subnet(value: Any, path: str) -> Subnet:
    """A prefix such as `10.1.0.0/24`; host bits are cleared, as Docker does."""
    try:
        return ipaddress.ip_network(_with_prefix(value, path), strict=False)
    except ValueError:
        raise wrong(path, value, "must be a subnet such as 10.1.0.0/24 or fd00:1::/64") from None


def subnet_of(version: int) -> Parser[Subnet]:
    example = "10.1.0.0/24" if version == 4 else "fd00:1::/64"
    return _of_version(version, subnet, f"must be of IPv{version}, as {example} is")


def addresses(value: Any, path: str) -> Subnet:
    """A network such as `10.1.0.0/24`, or a single address, which is a network by itself."""
    try:
        return ipaddress.ip_network(text(value, path).strip(), strict=False)
    except ValueError:
        raise wrong(path, value, "must be a network such as 10.1.0.0/24 or fd00:1::/64, or an address") from None


def shortest(network: Subnet) -> str:
    """A network as text, without the prefix length if it is a single address."""
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def union(networks: Iterable[Subnet], version: int) -> Tuple[Subnet, ...]:
    """The networks of one IP family, without those that lie within another."""
    if version == 4:
        return tuple(ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv4Network)))
    return tuple(ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv6Network)))


def unusable_addresses(subnet: Subnet) -> Tuple[Address, ...]:
    """The subnet's own address, and IPv4's broadcast address. A /31 and a /127 have neither (RFC 3021, RFC 6164)."""
    if subnet.prefixlen >= subnet.max_prefixlen - 1:
        return ()
    return (subnet[0], subnet[-1]) if subnet.version == 4 else (subnet[0],)


def is_within(inner: Subnet, outer: Subnet) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def interface(value: Any, path: str) -> Interface:
    """An address with its prefix, such as `10.1.0.1/24`."""
    try:
        return ipaddress.ip_interface(_with_prefix(value, path))
    except ValueError:
        raise wrong(path, value, "must be an address with its prefix, such as 10.1.0.1/24") from None


def interface_of(version: int) -> Parser[Interface]:
    example = "10.1.0.1/24" if version == 4 else "fd00:1::1/64"
    return _of_version(version, interface, f"must be of IPv{version}, as {example} is")


def _with_prefix(value: Any, path: str) -> str:
    if "/" not in text(value, path):
        raise wrong(path, value, f"the prefix length is missing, as in {value}/24")
    return str(value)


def mac(value: Any, path: str) -> str:
    """A unicast MAC address, in lower case with colons."""
    wanted = text(value, path).lower().replace("-", ":")
    if not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", wanted):
        hint = ", in quotes, else YAML may take it for a number" if isinstance(value, int) else ""
        raise wrong(path, value, f"must be a MAC address such as 02:42:ac:11:00:02{hint}")
    if int(wanted[:2], 16) & 1:
        raise wrong(path, value, "is a multicast address; the first byte must be even")
    if not int(wanted.replace(":", ""), 16):
        raise wrong(path, value, "is no address; the kernel takes none of only zeros")
    return wanted


# Of a link, in bytes (IFNAMSIZ without the zero at the end).
_LONGEST_NAME = 15


def link_name(prefix: str, network: str) -> str:
    """`PREFIX` and the network's name where that fits a link, else `PREFIX` and as many digits of a hash as fit."""
    name = prefix + network
    digits = hashlib.sha256(network.encode()).hexdigest()
    return name if len(name) <= _LONGEST_NAME else (prefix + digits)[:_LONGEST_NAME]


def interface_name(value: Any, path: str) -> str:
    """The name of a link: at most 15 bytes (`dev_valid_name` of the kernel), without the wildcards of other programs.

    iptables matches every name that begins with `e` by `e+`, nftables by `e*`; dnsmasq reads `br,eth0` as two links.
    """
    name = text(value, path)
    length = len(name.encode("utf-8", "surrogatepass"))
    if not 1 <= length <= _LONGEST_NAME:
        raise wrong(path, name, f"an interface name has from 1 to 15 bytes, this one has {length}")
    if name in ("lo", "all", "default"):
        raise wrong(path, name, "is the kernel's own name for something else: choose another one")
    if name in (".", "..") or not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise wrong(
            path,
            name,
            "an interface name is of letters, digits, _, . and - here: "
            "iptables, nftables and dnsmasq give other characters a meaning",
        )
    return name


def object_name(value: Any, path: str) -> str:
    """The name of a container or network, by Docker's rule, but without a dot at its end, which the DNS would drop."""
    name = docker_name(value, path)
    if name.endswith("."):
        raise wrong(path, name, "ends with a dot, without which the DNS has the same name: leave the dot out")
    return name


def docker_name(value: Any, path: str) -> str:
    """A name that Docker allows for a container or network, short enough for the marks on links."""
    name = text(value, path)
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}", name):
        raise wrong(path, name, "a name begins with a letter or digit, and goes on with up to 99 of [a-zA-Z0-9_.-]")
    return name


def host_name(value: Any, path: str) -> str:
    """A host or domain name; a dot at its end is removed."""
    return dns_name(value, path).removesuffix(".")


def dns_name(value: Any, path: str) -> str:
    """A name as in a zone file, absolute with a dot at its end (RFC 1123, and underscores as in SRV records)."""
    name = text(value, path)
    labels = name.removesuffix(".").split(".")
    if len(name) > 253 or not all(re.fullmatch(r"[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62})?", label) for label in labels):
        raise wrong(path, name, "must be a host name: labels of at most 63 letters, digits, - and _, joined by dots")
    return name


def public_key(value: Any, path: str) -> str:
    """A public key of WireGuard, which has 32 bytes."""
    with suppress(ValueError):
        key = base64.b64decode(text(value, path), validate=True)
        if len(key) == 32 and base64.b64encode(key).decode() == value:
            return str(value)
    raise wrong(path, value, "must be a public key of WireGuard: 44 characters, as `wg pubkey` prints")


def one_line(value: Any, path: str) -> str:
    found = text(value, path)
    if not found.isprintable():
        raise wrong(path, found, "must be one line of printable characters")
    return found


def list_of(parse: Parser[T]) -> Parser[Tuple[T, ...]]:
    """A list; a single value stands for a list of one, as in Compose's `dns`."""

    def parse_list(value: Any, path: str) -> Tuple[T, ...]:
        if isinstance(value, dict):
            raise wrong(path, value, "must be a list")
        items = value if isinstance(value, (list, tuple)) else [value]
        problems = ProblemCollector()
        parsed: List[T] = []
        for index, item in enumerate(items):
            with problems.collect():
                parsed.append(parse(item, f"{path}[{index}]"))
        problems.raise_if_any()
        return tuple(parsed)

    return parse_list


def mapping(value: Any, path: str) -> Dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(path, value, "must be a mapping")
    return {text(key, path): item for key, item in value.items()}


def pairs(separators: str, form: str = "KEY=VALUE") -> Parser[Tuple[Tuple[str, str], ...]]:
    """A mapping, or a list of texts of this `form`, the first of the separators that occurs dividing the two."""

    def parse(value: Any, path: str) -> Tuple[Tuple[str, str], ...]:
        if isinstance(value, dict):
            return tuple((key, text(item, f"{path}.{key}")) for key, item in mapping(value, path).items())
        return list_of(pair)(value, path)

    def pair(value: Any, path: str) -> Tuple[str, str]:
        item = text(value, path)
        for separator in separators:
            key, found, rest = item.partition(separator)
            if found:
                return key.strip(), rest.strip()
        raise wrong(path, item, f"must be {form}")

    return parse


class Section:
    """A mapping of a declaration, from which a parser takes key by key. Keys that are left in the end are unknown.

    An empty text counts as no value: an unset variable leaves one in a Compose file. For keys that restrict something
    a missing value is a problem (`refuse_blank`).
    """

    def __init__(self, value: Any, path: str, problems: ProblemCollector) -> None:
        self.path = path
        self._problems = problems
        self._left: Dict[str, Any] = {}
        self._taken: List[str] = []
        self._inner: Dict[str, Section] = {}
        self._is_mapping = False
        with problems.collect():
            self._left = mapping({} if value is None else value, path)
            self._is_mapping = True

    def take(self, key: str, parse: Parser[T], default: T) -> T:
        """The parsed value of a key; the default if the key is missing, its value is null, or it has a problem."""
        found = self.take_optional(key, parse)
        return default if found is None else found

    def take_optional(self, key: str, parse: Parser[T]) -> Optional[T]:
        self._taken.append(key)
        value = self._left.pop(key, None)
        if value in (None, ""):
            return None
        with self._problems.collect():
            return parse(value, f"{self.path}.{key}")
        return None

    def is_blank(self, key: str) -> bool:
        """Whether the key is given without a value; for keys that mean something also then."""
        return key in self._left and self._left[key] in (None, "")

    def take_all(self, key: str, parse: Parser[Tuple[T, ...]]) -> Tuple[T, ...]:
        """The parsed values of a key; none if the key is missing, its value is null, or it has a problem."""
        return self.take_optional(key, parse) or ()

    def require(self, key: str, why: str) -> None:
        """Report the key if it is missing or has no value. That a section is no mapping has been reported already."""
        if self._is_mapping and self._left.get(key) in (None, ""):
            self._problems.add(f"{self.path}.{key}", why)

    def refuse_blank(self, *keys: str, why: str = BLANK) -> None:
        """Report those of the keys that are given without a value; for keys that restrict something."""
        for key in filter(self.is_blank, keys):
            self._problems.add(f"{self.path}.{key}", why)

    def inner(self, key: str) -> Section:
        """The section below a key, which has to be finished separately."""
        self._inner[key] = Section(self.take_optional(key, mapping), f"{self.path}.{key}", self._problems)
        return self._inner[key]

    def refuse(self, keys: Collection[str], why: str = NOT_YET) -> None:
        """Report those of the keys that are given; no message about another key proposes them."""
        for key in keys:
            if self._left.pop(key, None) not in (None, ""):
                self._problems.add(f"{self.path}.{key}", why)

    def leave_out(self, keys: Collection[str]) -> None:
        """Take these keys, whatever they say."""
        for key in keys:
            self._taken.append(key)
            self._left.pop(key, None)

    def finish(
        self,
        passed_over: Collection[str] = (),
        extensible: bool = False,
        elsewhere: Optional[Mapping[str, str]] = None,
    ) -> None:
        """Report every key that was neither taken nor passed over. `extensible`: extensions (`x-…`) are allowed.
        `elsewhere` has the messages about keys that have a meaning in other sections of this kind.

        All keys below `x-wharf` must have been taken before, for the hint that an unknown key belongs there.
        """
        known = sorted(set(self._taken))
        for key in self._left:
            if key in passed_over or key == SOURCE or (extensible and is_extension(key)):
                continue
            message = (elsewhere or {}).get(key) or unknown_key(
                key, known, passed_over, f"known here: {', '.join(known)}"
            )
            if EXTENSION in self._inner and key in self._inner[EXTENSION]._taken:
                message = f"unknown key; did you mean {EXTENSION}.{key}?"
            self._problems.add(f"{self.path}.{key}", message)


@contextmanager
def whole_section(value: Any, path: str, extensible: bool = False) -> Iterator[Section]:
    """A section that is finished at the end of the block.

    Raises:
        ModelError: with all problems in it.
    """
    problems = ProblemCollector()
    section = Section(value, path, problems)
    yield section
    section.finish(extensible=extensible)
    problems.raise_if_any()
