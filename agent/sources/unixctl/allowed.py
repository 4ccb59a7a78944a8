"""What daemons may be asked over their control sockets."""

from collections.abc import Mapping

VSWITCHD = "ovs-vswitchd"
OVN_CONTROLLER = "ovn-controller"

_MAX_ARGUMENTS = {
    VSWITCHD: {
        "bond/show": 0,
        "coverage/read-counter": 1,
        "coverage/show": 0,
        "dpctl/ct-get-maxconns": 1,
        "dpctl/ct-get-nconns": 1,
        "dpctl/offload-stats-show": 1,
        "dpctl/show": 0,  # -s asks every device for its statistics, in the main thread
        "dpif-netdev/pmd-perf-show": 2,
        "dpif-netdev/pmd-stats-show": 1,
        "fdb/stats-show": 1,
        "lacp/show": 0,
        "list-commands": 0,
        "memory/show": 0,
        "upcall/show": 0,
        "version": 0,
    },
    OVN_CONTROLLER: {
        "connection-status": 0,
        "coverage/read-counter": 1,
        "coverage/show": 0,
        "debug/dump-local-bindings": 0,
        "inc-engine/show-stats": 0,
        "lflow-cache/show-stats": 0,
        "list-commands": 0,
        "memory/show": 0,
        "stopwatch/show": 0,
        "version": 0,
    },
}
ALLOWED: Mapping[str, frozenset[str]] = {
    daemon: frozenset(methods) for daemon, methods in _MAX_ARGUMENTS.items()
}
"""By daemon: commands that change nothing. Everything else is refused before it is written."""

_WITH_OPTIONS = ("dpctl/", "dpif-netdev/")
_ALLOWED_OPTIONS = frozenset({"-nh"})  # pmd-perf-show without histograms


def check_allowed(daemon: str, method: str, arguments: tuple[str, ...]) -> None:
    """Refuse what may change something or cost more than a look.

    Raises:
        ValueError: If the command is not on the daemon's list, or has arguments that are not. A
            bug.
    """
    most = _MAX_ARGUMENTS.get(daemon, {}).get(method)
    if most is None or len(arguments) > most:
        raise ValueError(
            f"{method} with {len(arguments)} arguments is not a read-only command of {daemon}"
        )
    if method.startswith(_WITH_OPTIONS):
        for argument in arguments:
            if argument.startswith("-") and argument not in _ALLOWED_OPTIONS:
                raise ValueError(f"{method} {argument} is not a read-only command of {daemon}")
