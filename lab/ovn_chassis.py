"""A compute node of an OVN cloud: Open vSwitch, ovn-controller, and the wires of the document.

The userspace datapath sends what a tunnel carries only through a bridge: the document's eth0,
which has the tunnels' address there, is a port of ``br-eth0`` here, and that has the address. The
Southbound is reached by a wire of its own, so that a switch that stands still does not cut it.
"""

import signal
import uuid
from dataclasses import dataclass
from pathlib import Path

from lab.frames import Host as Party
from lab.host import Host
from lab.node import Node
from lab.ovn_central import DIRECTORIES
from lab.ovn_underlay import Underlay
from lab.process import Daemon, LabError, run, wait_until
from lab.recorded import Bridge, Switch

INTEGRATION_BRIDGE, TUNNEL_BRIDGE = "br-int", "br-eth0"
TUNNELS, CONTROL, PROVIDER, MANAGEMENT = "tunnels", "control", "provider", "management"
"""The networks of the underlay."""
WIRES = {"eth0": TUNNELS, "eth1": CONTROL, "eth2": PROVIDER, "eth3": MANAGEMENT}
BRIDGE_MAPPINGS = "provider:br-provider"
NETWORK_BITS = 24
HOURS = 3600
CHASSIS_NAMES = uuid.UUID("210309a0-2cc9-4a7f-96af-960f78c1c32d")
"""Namespace for the UUIDs of chassis."""


@dataclass(frozen=True, slots=True)
class Place:
    """What tells one compute node from another.

    Attributes:
        hostname: Its name, also in the Southbound.
        tunnel: Its MAC address and IPv4 address in the network of tunnels.
        control: Its IPv4 address in the network of the Southbound.
    """

    hostname: str
    tunnel: Party
    control: str

    @property
    def system_id(self) -> str:
        """The chassis's name, as ``ovs-ctl`` makes one: the same each time."""
        return str(uuid.uuid5(CHASSIS_NAMES, self.hostname))


class Chassis(Host):
    """A host with an Open vSwitch in userspace and an ovn-controller.

    Args:
        place: Its names and addresses.
        underlay: Its wires are plugged in there.
        southbound: Remote of the Southbound database.
        shown: The bridges and their wires, as ``ovs-vsctl show`` showed them; patch ports are
            left to ovn-controller.

    Attributes:
        place: Its names and addresses.
        switch: Its Open vSwitch.
        ovn_rundir: Run directory of ovn-controller.
    """

    switch: Node

    def __init__(self, place: Place, underlay: Underlay, southbound: str, shown: Switch) -> None:
        super().__init__()
        self.place = place
        self.southbound = southbound
        self.ovn_rundir = Path()
        self._underlay = underlay
        self._shown = shown
        self._controller: Daemon | None = None
        self._plugs: dict[str, str] = {}
        self._met: list[Party] = []

    # -- ovn-controller, for tests of what the agent makes of its loss -------------------------

    @property
    def controller(self) -> Daemon:
        """The ovn-controller that was started last.

        Raises:
            LabError: If none was.
        """
        if self._controller is None:
            raise LabError("ovn-controller was never started")
        return self._controller

    @property
    def controller_ctl(self) -> Path:
        """The control socket of ovn-controller."""
        return self.ovn_rundir / f"ovn-controller.{self.controller.pid}.ctl"

    def start_controller(self) -> None:
        """Start ovn-controller and wait until it answers; not for what it will make."""
        database = f"unix:{self.switch.rundir}/db.sock"
        files = ("--pidfile", f"--log-file={self.ovn_rundir}/ovn-controller.log", "-vconsole:off")
        output = self.ovn_rundir / "ovn-controller.out"
        command = ["ovn-controller", database, *files]
        self._controller = Daemon(command, output, self.environment, self.name)
        wait_until(self._answers, what="ovn-controller to answer")

    def kill_controller(self) -> None:
        """SIGKILL ovn-controller: flows stay as they are, its socket stays behind."""
        self.controller.kill()

    def pause_controller(self) -> None:
        """SIGSTOP ovn-controller: its socket takes connections and does not answer."""
        self.controller.send(signal.SIGSTOP)

    def resume_controller(self) -> None:
        """SIGCONT ovn-controller."""
        self.controller.send(signal.SIGCONT)

    def recompute(self) -> None:
        """Have ovn-controller make all flows anew, as if it knew nothing."""
        self.controller_appctl("inc-engine/recompute")

    def controller_appctl(self, *arguments: str) -> str:
        """Run ovn-appctl against ovn-controller, by its control socket."""
        command = ("ovn-appctl", "--timeout=30", "-t", str(self.controller_ctl), *arguments)
        return run(*command, env=self.environment, netns=self.name)

    @property
    def environment(self) -> dict[str, str]:
        """What makes the commands of Open vSwitch and OVN speak to this node."""
        return self.switch.environment | dict.fromkeys(DIRECTORIES, str(self.ovn_rundir))

    # -- wires and tunnels ----------------------------------------------------------------------

    def unplug(self, device: str) -> None:
        """Take the cable out of the hardware: eth0 carries the tunnels, eth1 the Southbound."""
        self._underlay.pull(self._plugs[device])

    def plug(self, device: str) -> None:
        """Put the cable back."""
        self._underlay.put_back(self._plugs[device])

    def tunnel(self, other: "Chassis") -> str:
        """Return the name of the interface that ovn-controller made for another chassis.

        Raises:
            LabError: If there is none.
        """
        peer = f"options:remote_ip={other.place.tunnel.ip}"
        if name := self._interfaces("name", peer):
            return name
        raise LabError(f"{self.place.hostname} has no tunnel to {other.place.hostname}")

    def has_tunnel(self, other: "Chassis") -> bool:
        """Return whether there is one, and the switch has made a port of it."""
        return bool(
            self._interfaces("name", f"options:remote_ip={other.place.tunnel.ip}", "ofport>0")
        )

    def bfd_status(self, other: "Chassis") -> str:
        """Return the column of this name, as ovs-vsctl prints it; ``{}`` without BFD."""
        return self.switch.vsctl("--no-wait", "get", "Interface", self.tunnel(other), "bfd_status")

    def meet(self, other: "Chassis") -> None:
        """Tell another chassis's MAC address: the first packet into the tunnel is not lost."""
        self._met.append(other.place.tunnel)
        self._introduce(other.place.tunnel)

    def start_switch(self) -> None:
        """Start ovs-vswitchd again, and tell it what it has forgotten of the tunnels.

        ovn-controller tells it the flows, when it has noticed.
        """
        self.switch.start_vswitchd()
        self._raise_tunnel_bridge()
        for peer in self._met:
            self._introduce(peer)

    def _introduce(self, peer: Party) -> None:
        self.switch.appctl("tnl/neigh/set", TUNNEL_BRIDGE, peer.ip, peer.mac)

    # -- from here on in the order of building -------------------------------------------------

    def _build(self) -> None:
        super()._build()
        self.ovn_rundir = self.directory / "ovn"
        self.ovn_rundir.mkdir()
        for device, network in WIRES.items():
            self._plugs[device] = self._underlay.connect(self.path(), device, network)
        self.run("ip", "address", "add", f"{self.place.control}/{NETWORK_BITS}", "dev", "eth1")
        self.switch = Node(self.name)
        self.switch.start()
        self._stack.callback(self.switch.stop)
        self._add_bridges()
        self._stack.callback(self._end_controller)
        self.start_controller()

    def _add_bridges(self) -> None:
        """Write the rows of the document, no more, and the bridge of the tunnels."""
        ids = self._external_ids().items()
        commands = [
            "set",
            "Open_vSwitch",
            ".",
            *(f"external_ids:{key}={word}" for key, word in ids),
        ]
        for bridge in self._shown.bridges.values():
            commands += _bridge_commands(bridge)
        tunnel = self.place.tunnel
        commands += ["--", "add-br", TUNNEL_BRIDGE, "--", "set", "Bridge", TUNNEL_BRIDGE]
        commands += ["datapath_type=netdev", f'other_config:hwaddr="{tunnel.mac}"']
        commands += ["--", "add-port", TUNNEL_BRIDGE, "eth0"]
        self.switch.vsctl(*commands)
        self._raise_tunnel_bridge()

    def _raise_tunnel_bridge(self) -> None:
        address = f"{self.place.tunnel.ip}/{NETWORK_BITS}"
        self.run("ip", "address", "replace", address, "dev", TUNNEL_BRIDGE)
        self.run("ip", "link", "set", TUNNEL_BRIDGE, "up")

    def _interfaces(self, column: str, *conditions: str) -> str:
        found = ("--bare", f"--columns={column}", "find", "Interface", *conditions)
        return self.switch.vsctl("--no-wait", *found).strip()

    def _external_ids(self) -> dict[str, str]:
        return {
            "system-id": self.place.system_id,
            "hostname": self.place.hostname,
            "ovn-remote": f'"{self.southbound}"',
            "ovn-encap-type": "geneve",
            "ovn-encap-ip": self.place.tunnel.ip,
            "ovn-bridge": INTEGRATION_BRIDGE,
            "ovn-bridge-datapath-type": "netdev",
            "ovn-bridge-mappings": f'"{BRIDGE_MAPPINGS}"',
        }

    def _answers(self) -> bool:
        self.controller.require_alive()
        try:
            return bool(self.controller_appctl("version"))
        except LabError:
            return False

    def _end_controller(self) -> None:
        if self._controller is not None:
            self._controller.stop()


def _bridge_commands(bridge: Bridge) -> list[str]:
    identity = f"@{bridge.name}"
    mode = (f"fail_mode={bridge.fail_mode}",) if bridge.fail_mode else ()
    commands = [
        *("--", f"--id={identity}", "create", "Bridge", f"name={bridge.name}"),
        *("datapath_type=netdev", f"other_config:mac-aging-time={HOURS}", *mode),
        *("--", "add", "Open_vSwitch", ".", "bridges", identity),
    ]
    for name, interface in bridge.interfaces.items():
        if interface.type != "patch":
            commands += [
                *("--", f"--id=@i-{name}", "create", "Interface", f"name={name}"),
                f"type={interface.type}",
                *("--", f"--id=@p-{name}", "create", "Port", f"name={name}"),
                f"interfaces=@i-{name}",
                *("--", "add", "Bridge", bridge.name, "ports", f"@p-{name}"),
            ]
    return commands
