"""What ``lab.libvirt_server`` answers when it is healthy: a function for each procedure."""

from collections import Counter
from collections.abc import Callable, Sequence

from lab.libvirt_domains import (
    PAUSED,
    RUNNING,
    SHUTOFF,
    UNKNOWN,
    Domain,
    Interface,
    describe,
    stats_record,
)
from lab.libvirt_faults import FROM_QEMU, NO_DOMAIN, OPERATION_INVALID
from lab.libvirt_rpc import Procedure, Reader, array, i32, i64, identity, string, u32, u64

LIBVIRT_VERSION, QEMU_VERSION = 9_000_000, 7_002_000
HOSTNAME = "compute"
URI = "qemu:///system"
FEATURES = frozenset({8, 9, 10, 14, 15})
"""VIR_DRV_FEATURE_*: FD_PASSING, TYPED_PARAM_STRING, PROGRAM_KEEPALIVE, REMOTE_EVENT_CALLBACK,
REMOTE_CLOSE_CALLBACK: what libvirtd 9.0 says yes to of what clients ask."""
MEMORY_KIBIBYTES = 2_097_152
CPU_NANOSECONDS = 7_000_000_000

FILTERS: tuple[tuple[tuple[int, Callable[[Domain], bool]], ...], ...] = (
    ((1 << 0, lambda domain: domain.active), (1 << 1, lambda domain: not domain.active)),
    ((1 << 2, lambda domain: domain.persistent), (1 << 3, lambda domain: not domain.persistent)),
    (
        (1 << 4, lambda domain: domain.state == RUNNING),
        (1 << 5, lambda domain: domain.state == PAUSED),
        (1 << 6, lambda domain: domain.state == SHUTOFF),
        (1 << 7, lambda domain: domain.state not in {RUNNING, PAUSED, SHUTOFF}),
    ),
)
"""virConnectListAllDomainsFlags: of each group of which a flag is set, one must be true."""


class RefusedError(Exception):
    """The server says no to a call.

    Args:
        code: virErrorNumber.
        text: Its message.
        domain: virErrorDomain.
    """

    def __init__(self, code: int, text: str, domain: int = FROM_QEMU) -> None:
        super().__init__(text)
        self.code = code
        self.domain = domain


class Hypervisor:
    """The domains, and how often their counters were read.

    Args:
        domains: All of them.
        growth: What each reading of an interface adds to its counters.
    """

    def __init__(self, domains: Sequence[Domain], growth: int) -> None:
        self.domains = tuple(domains)
        self._growth = growth
        self._readings: Counter[tuple[bytes, str | None]] = Counter()

    def listed(self, flags: int) -> list[Domain]:
        """Return the domains that pass the flags of a listing."""
        chosen = list(self.domains)
        for group in FILTERS:
            wanted = [test for flag, test in group if flags & flag]
            if wanted:
                chosen = [domain for domain in chosen if any(test(domain) for test in wanted)]
        return chosen

    def find(self, test: Callable[[Domain], bool], what: str) -> Domain:
        """Return the one domain that passes a test.

        Raises:
            RefusedError: If there is none.
        """
        for domain in self.domains:
            if test(domain):
                return domain
        raise RefusedError(NO_DOMAIN, f"Domain not found: no domain with matching {what}")

    def named(self, arguments: Reader) -> Domain:
        """Return the domain that a call is about.

        Raises:
            RefusedError: If there is none any more.
        """
        wanted = arguments.identity()
        return self.find(
            lambda domain: domain.uuid == wanted.uuid, f"uuid '{wanted.uuid}' ({wanted.name})"
        )

    def read(self, domain: Domain, interface: Interface) -> tuple[int, ...]:
        """Return an interface's counters; the next time they have grown."""
        if not self._growth:
            return interface.counters
        key = domain.uuid.bytes, interface.device
        grown = self._readings[key] * self._growth
        self._readings[key] += 1
        return tuple(value if value == UNKNOWN else value + grown for value in interface.counters)


def _supports(_hypervisor: Hypervisor, arguments: Reader) -> bytes:
    return i32(arguments.i32() in FEATURES)


def _list_all(hypervisor: Hypervisor, arguments: Reader) -> bytes:
    wants_them, flags = arguments.i32(), arguments.u32()
    domains = hypervisor.listed(flags)
    shown = (identity(domain.identity) for domain in domains if wants_them)
    return array(shown) + u32(len(domains))


def _active(hypervisor: Hypervisor) -> list[Domain]:
    return [domain for domain in hypervisor.domains if domain.active]


def _list_active(hypervisor: Hypervisor, arguments: Reader) -> bytes:
    most = arguments.i32()
    return array(i32(domain.id) for domain in _active(hypervisor)[:most])


def _inactive(hypervisor: Hypervisor) -> list[Domain]:
    return [domain for domain in hypervisor.domains if not domain.active]


def _list_inactive(hypervisor: Hypervisor, arguments: Reader) -> bytes:
    most = arguments.i32()
    return array(string(domain.name) for domain in _inactive(hypervisor)[:most])


def _by_id(hypervisor: Hypervisor, arguments: Reader) -> bytes:
    wanted = arguments.i32()
    found = hypervisor.find(lambda domain: domain.active and domain.id == wanted, f"id {wanted}")
    return identity(found.identity)


def _by_name(hypervisor: Hypervisor, arguments: Reader) -> bytes:
    wanted = arguments.string()
    return identity(
        hypervisor.find(lambda domain: domain.name == wanted, f"name '{wanted}'").identity
    )


def _by_uuid(hypervisor: Hypervisor, arguments: Reader) -> bytes:
    wanted = arguments.uuid()
    return identity(
        hypervisor.find(lambda domain: domain.uuid == wanted, f"uuid '{wanted}'").identity
    )


def _xml(hypervisor: Hypervisor, arguments: Reader) -> bytes:
    return string(describe(hypervisor.named(arguments)))


def _state(hypervisor: Hypervisor, arguments: Reader) -> bytes:
    domain = hypervisor.named(arguments)
    return i32(domain.state) + i32(domain.reason)


def _info(hypervisor: Hypervisor, arguments: Reader) -> bytes:
    state = hypervisor.named(arguments).state
    memory = u64(MEMORY_KIBIBYTES)
    return u32(state) + memory + memory + u32(1) + u64(CPU_NANOSECONDS)


def _interface_stats(hypervisor: Hypervisor, arguments: Reader) -> bytes:
    domain, device = hypervisor.named(arguments), arguments.string()
    if not domain.active:
        raise RefusedError(
            OPERATION_INVALID, "Requested operation is not valid: domain is not running"
        )
    for interface in domain.interfaces:
        if device in {interface.device, interface.mac}:
            return b"".join(map(i64, hypervisor.read(domain, interface)))
    raise RefusedError(OPERATION_INVALID, f"no network device {device}")


def _all_stats(hypervisor: Hypervisor, arguments: Reader) -> bytes:
    asked = {arguments.identity().uuid for _ in range(arguments.u32())}
    stats, flags = arguments.u32(), arguments.u32()
    return array(
        stats_record(domain, stats, hypervisor.read)
        for domain in hypervisor.listed(flags)
        if not asked or domain.uuid in asked
    )


def _block_stats(hypervisor: Hypervisor, arguments: Reader) -> bytes:
    """A disk that did nothing: requests and bytes, read and written, and errors."""
    hypervisor.named(arguments)
    return i64(0) * 5


def _always(payload: bytes) -> Callable[[Hypervisor, Reader], bytes]:
    return lambda _hypervisor, _arguments: payload


ANSWERS: dict[int, Callable[[Hypervisor, Reader], bytes]] = {
    Procedure.AUTH_LIST: _always(array([i32(0)])),  # REMOTE_AUTH_NONE
    Procedure.CONNECT_CLOSE: _always(b""),
    Procedure.CONNECT_SUPPORTS_FEATURE: _supports,
    Procedure.CONNECT_GET_TYPE: _always(string("QEMU")),
    Procedure.CONNECT_GET_VERSION: _always(u64(QEMU_VERSION)),
    Procedure.CONNECT_GET_LIB_VERSION: _always(u64(LIBVIRT_VERSION)),
    Procedure.CONNECT_GET_HOSTNAME: _always(string(HOSTNAME)),
    Procedure.CONNECT_GET_URI: _always(string(URI)),
    Procedure.CONNECT_IS_SECURE: _always(i32(1)),
    Procedure.CONNECT_REGISTER_CLOSE_CALLBACK: _always(b""),
    Procedure.CONNECT_UNREGISTER_CLOSE_CALLBACK: _always(b""),
    Procedure.CONNECT_LIST_ALL_DOMAINS: _list_all,
    Procedure.CONNECT_NUM_OF_DOMAINS: lambda hypervisor, _: i32(len(_active(hypervisor))),
    Procedure.CONNECT_LIST_DOMAINS: _list_active,
    Procedure.CONNECT_NUM_OF_DEFINED_DOMAINS: lambda hypervisor, _: i32(len(_inactive(hypervisor))),
    Procedure.CONNECT_LIST_DEFINED_DOMAINS: _list_inactive,
    Procedure.CONNECT_LIST_ALL_STORAGE_POOLS: _always(array([]) + u32(0)),
    Procedure.CONNECT_GET_ALL_DOMAIN_STATS: _all_stats,
    Procedure.DOMAIN_LOOKUP_BY_ID: _by_id,
    Procedure.DOMAIN_LOOKUP_BY_NAME: _by_name,
    Procedure.DOMAIN_LOOKUP_BY_UUID: _by_uuid,
    Procedure.DOMAIN_GET_XML_DESC: _xml,
    Procedure.DOMAIN_GET_STATE: _state,
    Procedure.DOMAIN_GET_INFO: _info,
    Procedure.DOMAIN_GET_OS_TYPE: _always(string("hvm")),
    Procedure.DOMAIN_GET_AUTOSTART: _always(i32(0)),
    Procedure.DOMAIN_IS_ACTIVE: lambda hypervisor, arguments: i32(
        hypervisor.named(arguments).active
    ),
    Procedure.DOMAIN_IS_PERSISTENT: lambda hypervisor, arguments: i32(
        hypervisor.named(arguments).persistent
    ),
    Procedure.DOMAIN_INTERFACE_STATS: _interface_stats,
    Procedure.DOMAIN_BLOCK_STATS: _block_stats,
}
"""By procedure; what depends on the connection is the server's own."""
