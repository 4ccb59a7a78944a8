"""The sections of the configuration: defaults, types and documentation of every key."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from agent.addresses import (
    check_rundir,
    libvirt_sockets,
    parse_address,
    parse_remote,
    parse_remotes,
)
from agent.flow_rules import Rule
from agent.model.domain import ShownInterfaces

OTHER_PATHS = ("/-/healthy", "/-/ready", "/healthz", "/readyz", "/status")
"""What the server answers besides metrics; metrics there would never be served."""
OVN_REMOTE = "ovn-remote"
"""As a remote: the one that ovn-controller uses, Open_vSwitch.external_ids:ovn-remote."""

Patterns = Annotated[list[str], Field(max_length=1000)]


class Section(BaseModel):
    """A part of the configuration; keys that it does not have are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ovs(Section):
    """Where Open vSwitch is."""

    enabled: bool = Field(
        default=True,
        description=(
            "Whether Open vSwitch is expected on this node; without it nothing of it is opened,"
            " asked or missed."
        ),
    )
    rundir: Path = Field(
        Path("/run/openvswitch"),
        description="Directory of ovs-vswitchd's sockets: ovs-vswitchd.*.ctl and <bridge>.mgmt.",
    )
    db: str | None = Field(
        None,
        description="OVSDB server, unix:PATH or tcp:HOST:PORT; default unix:<rundir>/db.sock.",
    )

    @field_validator("rundir")
    @classmethod
    def _room_for_sockets(cls, rundir: Path) -> Path:
        check_rundir(str(rundir))
        return rundir

    @field_validator("db")
    @classmethod
    def _remote(cls, db: str | None) -> str | None:
        if db is not None:
            parse_remote(db)
        return db

    @property
    def remote(self) -> str:
        """The OVSDB server's address."""
        return self.db or f"unix:{self.rundir}/db.sock"


class Web(Section):
    """How metrics are served."""

    listen_address: Annotated[list[str], Field(min_length=1)] = Field(
        [":10978"], description="Addresses to listen on, HOST:PORT; an empty host means all."
    )
    config_file: Path | None = Field(
        None, description="TLS, client certificates and users, in exporter-toolkit's format."
    )
    telemetry_path: str = Field(
        "/metrics", pattern=r"^/[A-Za-z0-9/._-]+$", description="Path of the metrics."
    )
    max_requests: int = Field(
        40, ge=0, description="Requests for metrics served at once, 0 for no limit."
    )

    @field_validator("listen_address")
    @classmethod
    def _addresses(cls, addresses: list[str]) -> list[str]:
        problems = [problem for each in addresses if (problem := _address_problem(each))]
        if problems:
            raise ValueError("; ".join(problems))
        return addresses

    @field_validator("telemetry_path")
    @classmethod
    def _free_path(cls, path: str) -> str:
        if path in OTHER_PATHS:
            raise ValueError(f"{path} is taken")
        return path


class Log(Section):
    """What is logged, to stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Threshold.")
    format: Literal["logfmt", "json"] = Field("logfmt", description="Form of a line.")


class Scrape(Section):
    """How a scrape is answered."""

    share_seconds: float = Field(
        1.0, ge=0, le=5, description="Scrapes within this time share one reading of the peers."
    )
    deadline_seconds: float = Field(
        8.0,
        gt=0,
        le=60,
        description="Longest time a scrape may take; Prometheus's own timeout shortens it.",
    )
    state_max_age_seconds: float = Field(
        60.0, ge=0, description="How long state is shown after its subscription is lost."
    )


class Flows(Section):
    """Which flows have series, and how gently they are read."""

    mode: Literal["auto", "selected", "all", "off"] = Field(
        "auto",
        description=(
            "auto: every flow of a bridge with at most max_per_bridge flows, only what select names"
            " above that until it is below 80 % again; selected: only what select names; all: every"
            " flow; off: flows are not read at all: no fate and no ledgers either."
        ),
    )
    max_per_bridge: int = Field(1000, ge=0, description="Bound of auto.")
    select: list[Rule] = Field(
        [],
        max_length=1000,
        description=(
            "Rules that name flows, each with at least one of bridge, table, priority, cookie"
            " (0x1f, or 0x10/0xf0 with a mask), match and interface (shell patterns on the text of"
            " the match, and on the name of its in_port)."
        ),
    )
    duty_cycle: float = Field(
        0.02,
        gt=0,
        le=1,
        description=(
            "Share of ovs-vswitchd's time that reading flows may take, on average over a minute;"
            " scrapes beyond it are answered without flows."
        ),
    )
    busy_echo_seconds: float = Field(
        0.5, gt=0, le=60, description="Flows are left out when an OpenFlow ECHO takes longer."
    )
    table_pause_seconds: float = Field(
        0.002,
        ge=0,
        le=1,
        description="Shortest pause between questions for flows, for ovs-vswitchd's other work.",
    )

    @field_validator("mode", mode="before")
    @classmethod
    def _off(cls, mode: Any) -> Any:
        return "off" if mode is False else mode  # YAML's off, without quotes


class Interfaces(Section):
    """What interfaces show besides their counters."""

    custom_statistics: list[str] = Field(
        [],
        description="Shell patterns of custom port statistics (DPDK, vhost, AF_XDP) to show.",
    )


class Links(Section):
    """Which links of the kernel are shown."""

    include: Patterns = Field(
        [],
        description=(
            "Shell patterns of devices in the host's own namespace to show besides those of the"
            " virtual network that nothing else counts (members and masters of Linux bridges,"
            " kernel tunnels, veths)."
        ),
    )
    exclude: Patterns = Field(
        [], description="Shell patterns of devices not to show, in every namespace."
    )


class Namespaces(Section):
    """Which network namespaces are entered."""

    directory: Path = Field(
        Path("/run/netns"), description="Where namespaces have their names: ip-netns(8)."
    )
    include: Patterns = Field(["*"], description="Shell patterns of namespaces to enter.")
    exclude: Patterns = Field([], description="Shell patterns of namespaces not to enter.")


class Libvirt(Section):
    """Where libvirt is, and what is shown of its domains."""

    enabled: Literal["auto"] | bool = Field(
        "auto",
        description=(
            "auto: missed once it has been found; true: missed from the start; false: nothing of it"
            " is opened."
        ),
    )
    uri: str = Field(
        "qemu:///system",
        description=(
            "Connection URI of a driver on this node, by its UNIX socket; opened read-only."
            " Another socket: qemu:///system?socket=PATH."
        ),
    )
    interfaces: ShownInterfaces = Field(
        "always",
        description=(
            "Which interfaces of domains have counters: always: all; auto: those that Open vSwitch"
            " does not count already; never: none, libvirt is only followed."
        ),
    )

    @field_validator("uri")
    @classmethod
    def _local(cls, uri: str) -> str:
        libvirt_sockets(uri)
        return uri


class OvnDatabases(Section):
    """OVN's databases, for an agent beside them: the whole network's names. Off without remotes."""

    northbound: str | None = Field(
        None,
        description=(
            "Northbound: unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT, or several of them with commas"
            " between; any member of a cluster will do."
        ),
    )
    southbound: str | None = Field(None, description="Southbound, likewise.")
    logical_flows: bool = Field(
        default=True,
        description=(
            "Whether logical flows are followed: without them ACLs cannot be told by the cookies"
            " of flows on the nodes."
        ),
    )

    @field_validator("northbound", "southbound")
    @classmethod
    def _remotes(cls, remotes: str | None) -> str | None:
        if remotes is not None:
            parse_remotes(remotes)
        return remotes


class Ovn(Section):
    """Where OVN is, and what is asked of its databases."""

    enabled: Literal["auto"] | bool = Field(
        "auto",
        description=(
            "auto: ovn-controller is missed once it has been found; true: missed from the start;"
            " false: it is not asked."
        ),
    )
    rundir: Path = Field(
        Path("/run/ovn"), description="Directory of ovn-controller.*.ctl, its control socket."
    )
    datapaths: bool = Field(
        default=False,
        description=(
            "Whether packets of stages are counted for each logical switch and router by itself:"
            " some 30 series for each that has flows on this node."
        ),
    )
    databases: OvnDatabases = Field(OvnDatabases(), description=OvnDatabases.__doc__)
    chassis_southbound: str | None = Field(
        None,
        description=(
            "Southbound as this node's ovn-controller sees it, asked for this chassis and its own"
            " port bindings and for nothing else; ovn-remote: where ovn-controller connects to. Off"
            " without it."
        ),
    )
    private_key: Path | None = Field(None, description="Of ssl: remotes: the agent's key, PEM.")
    certificate: Path | None = Field(None, description="Of ssl: remotes: its certificate, PEM.")
    ca_certificate: Path | None = Field(
        None, description="Of ssl: remotes: who signs the servers' certificates, PEM."
    )

    @field_validator("rundir")
    @classmethod
    def _room_for_sockets(cls, rundir: Path) -> Path:
        check_rundir(str(rundir))
        return rundir

    @field_validator("chassis_southbound")
    @classmethod
    def _remotes(cls, remotes: str | None) -> str | None:
        if remotes is not None and remotes != OVN_REMOTE:
            parse_remotes(remotes)
        return remotes

    @model_validator(mode="after")
    def _one_southbound(self) -> "Ovn":
        southbound = self.databases.southbound
        if southbound and self.chassis_southbound:
            raise ValueError("databases.southbound says all that chassis_southbound does")
        remotes = (self.databases.northbound, southbound, self.chassis_southbound)
        wants_tls = any("ssl:" in remote for remote in remotes if remote)
        if wants_tls and self.ca_certificate is None:
            raise ValueError("an ssl: remote needs ca_certificate: nobody else is trusted")
        if (self.private_key is None) != (self.certificate is None):
            raise ValueError("private_key and certificate go together")
        return self


class Identity(Section):
    """Who is named on pages, in /status and by the commands."""

    names: bool = Field(
        default=True,
        description=(
            "Whether the names that Nova gives are shown: of instances, flavors, projects and"
            " users. Without them their ids remain, and libvirt's own names of domains."
        ),
    )


class Timeouts(Section):
    """How long a peer may take for one answer before its connection is given up."""

    openflow_seconds: float = Field(5.0, gt=0, le=60, description="One OpenFlow answer.")
    bridge_seconds: float = Field(
        30.0, gt=0, le=300, description="All answers of one bridge for one reading together."
    )
    libvirt_seconds: float = Field(5.0, gt=0, le=60, description="One answer of libvirt.")
    netlink_seconds: float = Field(5.0, gt=0, le=60, description="One netlink answer.")
    unixctl_seconds: float = Field(5.0, gt=0, le=60, description="All unixctl commands together.")


class Limits(Section):
    """Bounds that are enforced and exported."""

    series: int = Field(
        250_000,
        ge=100,
        description="Series a collector may show; above it leaves out whole families of detail.",
    )
    namespaces: int = Field(
        2000, ge=0, description="Named namespaces entered; /status says how many are beyond."
    )
    domains: int = Field(
        5000, ge=0, description="Domains remembered; /status says how many are beyond."
    )
    forwarding_entries: int = Field(
        200_000,
        ge=0,
        description=(
            "Entries of Linux bridges' and vxlan devices' forwarding tables remembered in one"
            " namespace; with more it shows none."
        ),
    )
    logical_flows: int = Field(
        200_000,
        ge=0,
        description=(
            "Rows of OVN's Logical_Flow remembered, 1 kB each; beyond it none is, and source"
            " ovn_southbound says so."
        ),
    )
    ovn_rows: int = Field(
        200_000, ge=0, description="Rows remembered of each other table of OVN's databases."
    )
    openflow_reply_bytes: int = Field(
        256 << 20, ge=1 << 16, description="Size of one complete OpenFlow answer."
    )
    unixctl_reply_bytes: int = Field(
        16 << 20, ge=1 << 16, description="Size of one unixctl answer."
    )


def _address_problem(address: str) -> str | None:
    try:
        parse_address(address)
    except ValueError as error:
        return str(error)
    return None
