"""Calls to addresses that somebody else chose: looked up once, judged, and connected to as judged. Redirects are not followed, no proxy is used.

Only public addresses are called, by https; what an operator lists (hosts or networks) may be private, and may be called by http.
"""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from infra.errors import DubwrightError

LARGEST_ANSWER = 4096  # bytes that are read of an answer's body
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
AZURE = ipaddress.ip_address("168.63.129.16")  # a cloud's inner service at an address that counts as public
NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


class OutboundError(DubwrightError):
    """A place that may not be called, or that did not answer."""

    default_code = "outbound.failed"
    default_step = "Check that the receiver is up and answers within the time limit."


@dataclass(frozen=True)
class Allowed:
    """Hosts and networks that may be called though they are not public, from a list separated by spaces."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @classmethod
    def read(cls, text: str) -> "Allowed":
        """Words that are networks or addresses are those; all others are host names."""
        hosts, networks = set(), []
        for word in text.split():
            try:
                networks.append(ipaddress.ip_network(word, strict=False))
            except ValueError:
                hosts.add(word.lower().rstrip("."))
        return cls(frozenset(hosts), tuple(networks))

    def has(self, host: str, address: Address) -> bool:
        """Whether a host, or the address that it stands for, is listed."""
        return host in self.hosts or any(address in network for network in self.networks if network.version == address.version)


@dataclass(frozen=True)
class Place:
    """A URL that may be called: its parts, and the one address that is connected to."""

    url: SplitResult
    host: str
    port: int
    address: str


@dataclass(frozen=True)
class Answer:
    """A status, and the seconds that the receiver asks to be left alone for (0 where it does not say); the body as far as it was read, and its type."""

    status: int
    retry_after: float = 0.0
    body: bytes = b""
    kind: str = ""


def public(address: Address) -> bool:
    """Whether an address is one of the public Internet, whatever it is written inside of."""
    inner = _inner(address)
    if inner is not None:
        return public(inner)
    return address.is_global and not address.is_multicast and address != AZURE


def _inner(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 address carries: mapped, compatible (RFC 4291, 2.5.5.1), 6to4, Teredo, NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if int(address) >> 32 == 0 or any(address in network for network in NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def parts(url: str) -> tuple[SplitResult, str, int]:
    """A URL's parts, host and port. Raises OutboundError for one that is not plain http or https."""
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError as error:
        raise _refused(f"this is no URL ({error})") from error
    host = (found.hostname or "").rstrip(".")
    if found.scheme not in ("http", "https") or not host or not url.isascii() or any(c.isspace() or ord(c) < 33 for c in url) or len(url) > 2000:
        raise _refused("a URL is https://host/path, in ASCII, 2000 characters at most")
    if found.username is not None or found.password is not None or found.fragment:
        raise _refused("a URL holds no user, password or fragment")
    return found, host, port or (443 if found.scheme == "https" else 80)


def judge(url: str, allowed: Allowed) -> Place:
    """Look a URL's host up, once, and judge every address. Raises OutboundError: outbound.refused or outbound.lookup."""
    found, host, port = parts(url)
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise OutboundError(f"the host {host[:80]} cannot be looked up ({error})", code="outbound.lookup", next_step="Check the host's name.") from error
    addresses = [ipaddress.ip_address(str(row[4][0])) for row in rows]
    listed = [allowed.has(host, address) or ((inner := _inner(address)) is not None and allowed.has(host, inner)) for address in addresses]
    bad = next((a for a, known in zip(addresses, listed, strict=True) if not known and not public(a)), None)
    if bad is not None:
        raise _refused(f"{host[:80]} stands for {bad}, which is not an address of the public Internet")
    if found.scheme == "http" and not all(listed):
        raise _refused("http is for listed hosts and networks alone")
    return Place(found, host, port, str(addresses[0]))


def _refused(why: str) -> OutboundError:
    return OutboundError(why, code="outbound.refused", next_step="Use an https URL of a public host; DUBWRIGHT_WEBHOOK_ALLOW lists private hosts and networks that may be called.")


def post(url: str, body: bytes, headers: dict[str, str], allowed: Allowed, seconds: float, most: int = 0) -> Answer:
    """POST a body. Everything after the look-up ends within `seconds`, twice that at most. Raises OutboundError; a redirect is an answer like any other.

    most: bytes of the answer's body that are wanted, more of which is an error; 0 wants none.
    """
    place = judge(url, allowed)
    try:
        plain = socket.create_connection((place.address, place.port), timeout=seconds)
    except OSError as error:
        raise OutboundError(f"no connection to {place.host}:{place.port} ({_words(error)})", code="outbound.connect") from error
    return _exchange(plain, place, body, headers, seconds, most)


def _exchange(plain: socket.socket, place: Place, body: bytes, headers: dict[str, str], seconds: float, most: int) -> Answer:
    late, lines = threading.Event(), [plain]

    def cut() -> None:
        late.set()
        with contextlib.suppress(OSError):
            lines[-1].shutdown(socket.SHUT_RDWR)  # ends a receiver that sends a byte now and then

    watch = threading.Timer(seconds, cut)
    watch.daemon = True
    watch.start()
    try:
        if place.url.scheme == "https":
            secure = ssl.create_default_context().wrap_socket(plain, server_hostname=place.host, do_handshake_on_connect=False)
            lines.append(secure)
            secure.do_handshake()
        with contextlib.closing(http.client.HTTPConnection(place.host, place.port, timeout=seconds)) as connection:
            connection.sock = lines[-1]
            target = (place.url.path or "/") + (f"?{place.url.query}" if place.url.query else "")
            connection.request("POST", target, body, {"Host": place.url.netloc, "Connection": "close", **headers})
            answer = connection.getresponse()
            told = answer.read(most + 1 if most else LARGEST_ANSWER)
            if late.is_set():  # a line that was cut reads like one that ended
                raise TimeoutError
            if most and len(told) <= most and answer.length:
                raise http.client.IncompleteRead(told, answer.length)
            if 0 < most < len(told):
                raise OutboundError(f"the answer of {place.host} is larger than {most} bytes", code="outbound.large")
            return Answer(answer.status, _seconds(answer.headers.get("Retry-After", "")), told if most else b"", answer.headers.get("Content-Type", ""))
    except (OSError, http.client.HTTPException, ValueError) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise OutboundError(f"{place.host} did not answer within {seconds:g} s", code="outbound.slow") from error
        raise OutboundError(f"the call to {place.host} broke off ({_words(error)})", code="outbound.broken") from error
    finally:
        watch.cancel()
        lines[-1].close()


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() and len(text) < 7 else 0.0


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
