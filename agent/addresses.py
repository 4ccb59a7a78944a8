"""Addresses as people write them: where to listen, where OVSDB, libvirt and sockets are."""

import os
from urllib.parse import parse_qs, urlsplit

Address = str | tuple[str, int]
"""Path of a UNIX socket, or host and port."""
MAX_SOCKET_PATH_BYTES = 107  # sockaddr_un in <sys/un.h>, unix(7)
LONGEST_SOCKET_NAME_BYTES = len("/ovs-vswitchd.4194304.ctl")  # pid_max is 2**22, proc(5)
MAX_PORT = 65535


def parse_address(address: str) -> tuple[str | None, int]:
    """Split ``HOST:PORT``, ``[V6]:PORT`` or ``:PORT``.

    Returns:
        The host, ``None`` for all addresses, and the port.

    Raises:
        ValueError: If it is none of the three, or the port is not one.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > MAX_PORT:
        raise ValueError(f"{address!r} is not HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{address!r}: an IPv6 address stands in brackets")
    return host or None, int(port)


def parse_remote(remote: str) -> Address:
    """Return the path of ``unix:PATH`` or host and port of ``tcp:HOST:PORT``.

    An IPv6 address stands in brackets: ``tcp:[::1]:6640``.

    Raises:
        ValueError: If it is neither.
    """
    method, _, rest = remote.partition(":")
    if method == "unix" and rest:
        if "\0" in rest or len(os.fsencode(rest)) > MAX_SOCKET_PATH_BYTES:
            raise ValueError(f"{remote}: the path of a UNIX socket has at most 107 bytes")
        return rest
    host, _, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if method == "tcp" and host and port.isdecimal() and 0 < int(port) <= MAX_PORT:
        host.encode("idna")  # a name that cannot be looked up is a ValueError too
        return host, int(port)
    raise ValueError(f"{remote}: neither unix:PATH nor tcp:HOST:PORT")


def parse_remotes(remotes: str) -> tuple[tuple[str, Address, bool], ...]:
    """Split the remotes of a database or a cluster: ``ssl:a:6642,ssl:b:6642``.

    Returns:
        Of each its text, its address, and whether it speaks TLS.

    Raises:
        ValueError: If one is none of unix:PATH, tcp:HOST:PORT and ssl:HOST:PORT.
    """
    found = []
    for remote in remotes.split(","):
        text = remote.strip()
        tls = text.startswith("ssl:")
        try:
            address = parse_remote(f"tcp:{text.removeprefix('ssl:')}" if tls else text)
        except ValueError:
            if not tls and text.startswith("unix:"):
                raise
            raise ValueError(
                f"{text}: neither unix:PATH nor tcp:HOST:PORT nor ssl:HOST:PORT"
            ) from None
        found.append((text, address, tls))
    return tuple(found)


def check_rundir(rundir: str) -> None:
    """Make sure that the sockets of Open vSwitch fit behind this path.

    Raises:
        ValueError: If they do not, or it is no path.
    """
    room = MAX_SOCKET_PATH_BYTES - LONGEST_SOCKET_NAME_BYTES
    if "\0" in rundir or len(os.fsencode(rundir)) > room:
        raise ValueError(f"not a path of at most {room} bytes, which sockets in it need")


LIBVIRT_DRIVERS = frozenset({"ch", "lxc", "qemu", "vz", "xen"})
LIBVIRT_PATHS = frozenset({"/", "/session", "/system"})
"""Of drivers that run as daemons; with another, /embed, the library itself would be one."""
LIBVIRT_DIRECTORY = "/run/libvirt"


def libvirt_sockets(uri: str) -> tuple[str, ...]:
    """Return the sockets of which one has to be there for this connection URI.

    libvirt looks for the driver's own daemon and for libvirtd, by read-only sockets
    (https://libvirt.org/uri.html, https://libvirt.org/daemons.html).

    Returns:
        One that the URI names, else that of either daemon; none for a user's own daemons, which
        have their sockets in a directory of that user.

    Raises:
        ValueError: If it is no URI of a driver on this node by a UNIX socket: others start a
            program (ssh), lead to other nodes, or make a hypervisor of this process (/embed).
    """
    parts = urlsplit(uri)
    driver, _, transport = parts.scheme.partition("+")
    if driver not in LIBVIRT_DRIVERS or transport not in ("", "unix") or parts.netloc:
        known = ", ".join(sorted(LIBVIRT_DRIVERS))
        raise ValueError(f"not DRIVER:///PATH with a DRIVER of {known}: only this node's by socket")
    if parts.path not in LIBVIRT_PATHS:
        raise ValueError(f"its path is none of {', '.join(sorted(LIBVIRT_PATHS))}")
    paths = parse_qs(parts.query).get("socket", [])
    if len(paths) > 1 or "\0" in uri:
        raise ValueError("a URI names at most one socket, without NUL")
    if paths:
        if len(os.fsencode(paths[0])) > MAX_SOCKET_PATH_BYTES:
            raise ValueError("the path of a UNIX socket has at most 107 bytes")
        return tuple(paths)
    if parts.path == "/session":
        return ()
    return tuple(f"{LIBVIRT_DIRECTORY}/{name}-sock-ro" for name in (f"virt{driver}d", "libvirt"))
