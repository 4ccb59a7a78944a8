"""What libvirt's errors mean to us: libvirt/virterror.h."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import libvirt

from agent.errors import Reason, SourceError
from agent.wire.text import clean

MAX_DETAIL_CHARACTERS = 200
NOT_TEXT = "text that is not UTF-8"
"""The bindings make str of whatever the peer sent."""
NOT_TEXT_ERRORS = (UnicodeDecodeError, SystemError)
"""How they say that they could not. The second is of the text of an error, which libvirt also cuts
in the middle of a character: it fails where the handler of errors is called
(libvirt_virErrorFuncHandler of libvirt-override.c), and the call then looks as if it had a result.
"""
REASONS = {
    libvirt.VIR_ERR_AUTH_FAILED: Reason.DENIED,
    libvirt.VIR_ERR_AUTH_CANCELLED: Reason.DENIED,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE: Reason.DENIED,
    libvirt.VIR_ERR_ACCESS_DENIED: Reason.DENIED,
    libvirt.VIR_ERR_OPERATION_DENIED: Reason.DENIED,
    libvirt.VIR_ERR_NO_SUPPORT: Reason.REFUSED,
    libvirt.VIR_ERR_NO_CONNECT: Reason.REFUSED,
    libvirt.VIR_ERR_OPERATION_TIMEOUT: Reason.TIMEOUT,
    libvirt.VIR_ERR_RPC: Reason.MALFORMED,
}
ERRNOS = {
    errno.ENOENT: Reason.ABSENT,
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.EACCES: Reason.DENIED,
    errno.EPERM: Reason.DENIED,
}
"""Of VIR_ERR_SYSTEM_ERROR, which carries errno in int1."""


def source_error(what: str, error: libvirt.libvirtError) -> SourceError:
    """Map an error of the library's to one of our reasons, with its own words."""
    code = error.get_error_code()
    if code == libvirt.VIR_ERR_SYSTEM_ERROR:
        reason = ERRNOS.get(error.get_int1(), Reason.BROKEN)
    else:
        reason = REASONS.get(code, Reason.BROKEN)
    said = " ".join(clean(error.get_error_message() or str(error)).split())
    return SourceError(reason, f"{what}: {said[:MAX_DETAIL_CHARACTERS]}")


@contextmanager
def errors(what: str) -> Iterator[None]:
    """Raise the library's errors as ours.

    Raises:
        SourceError: For every libvirtError, and for text that is not UTF-8.
    """
    try:
        yield
    except libvirt.libvirtError as error:
        raise source_error(what, error) from error
    except NOT_TEXT_ERRORS as error:
        raise SourceError(Reason.MALFORMED, f"{what}: {NOT_TEXT}") from error


def is_gone(error: libvirt.libvirtError) -> bool:
    """Whether it says that a domain is no longer there."""
    return bool(error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN)
