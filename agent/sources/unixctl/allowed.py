"""What ovs-vswitchd may be asked over its control socket."""

_MAX_ARGUMENTS = {
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
}
ALLOWED: frozenset[str] = frozenset(_MAX_ARGUMENTS)
"""Commands that change nothing. Everything else is refused before it is written."""

_WITH_OPTIONS = ("dpctl/", "dpif-netdev/")
_ALLOWED_OPTIONS = frozenset({"-nh"})  # pmd-perf-show without histograms


def check_allowed(method: str, arguments: tuple[str, ...]) -> None:
    """Refuse what may change something or cost more than a look.

    Raises:
        ValueError: If the command is not on the list, or has arguments that are not. A bug.
    """
    if method not in ALLOWED or len(arguments) > _MAX_ARGUMENTS[method]:
        raise ValueError(f"{method} with {len(arguments)} arguments is not a read-only command")
    if method.startswith(_WITH_OPTIONS):
        for argument in arguments:
            if argument.startswith("-") and argument not in _ALLOWED_OPTIONS:
                raise ValueError(f"{method} {argument} is not a read-only command")
