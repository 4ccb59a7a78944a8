"""Domains as small as QEMU makes them: no disk, no guest, interfaces as wanted.

https://libvirt.org/formatdomain.html
"""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

FREE_SLOTS = 4
MEMORY_MIB = 16
EMULATOR = "/usr/bin/qemu-system-x86_64"
HOT_UNPLUG = ("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off")
"""Unplugging by ACPI waits for a guest to agree, and there is none; by PCI Express it does not."""


def domain_xml(
    name: str,
    identity: str,
    interfaces: Sequence[str] = (),
    *,
    metadata: str = "",
    arguments: Sequence[str] = (),
) -> str:
    """Write a domain that starts in 0.3 s, takes 45 MB and computes nothing.

    Args:
        name: libvirt's name of it.
        identity: UUID.
        interfaces: Their elements; ``FREE_SLOTS`` more can be plugged later.
        metadata: What is inside of ``<metadata>``.
        arguments: More arguments of QEMU.
    """
    slots = "<controller type='pci' model='pcie-root-port'/>" * (len(interfaces) + FREE_SLOTS)
    words = "".join(f"<qemu:arg value={quoteattr(w)}/>" for w in (*HOT_UNPLUG, *arguments))
    return f"""
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{escape(name)}</name>
  <uuid>{identity}</uuid>
  <metadata>{metadata}</metadata>
  <memory unit='MiB'>{MEMORY_MIB}</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>{EMULATOR}</emulator>
    <controller type='usb' model='none'/>
    <controller type='pci' index='0' model='pcie-root'/>
    {slots}
    {"".join(interfaces)}
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>{words}</qemu:commandline>
</domain>
"""


def interface_xml(
    device: str, mac: str, *, bridge: str = "", mtu: int = 1500, managed: bool = True
) -> str:
    """Write an interface of a domain, for which libvirt makes the tap.

    Args:
        device: Name of the tap.
        mac: The instance's address; the tap has it with ``fe`` in front.
        bridge: Linux bridge that libvirt plugs the tap into; empty for none.
        mtu: Of the tap and, by virtio, of the instance.
        managed: Whether libvirt makes the device; otherwise it has to be there, as it is to be.
    """
    source = f"<source bridge='{bridge}'/>" if bridge else ""
    return f"""
<interface type='{"bridge" if bridge else "ethernet"}'>
  <mac address='{mac}'/>
  {source}
  <target dev='{device}'{"" if managed else " managed='no'"}/>
  <model type='virtio'/>
  <driver name='qemu'/>
  <mtu size='{mtu}'/>
  {NO_BOOT_CODE}
</interface>
"""


def direct_xml(mac: str, source: str, mode: str) -> str:
    """Write an interface of a domain, for which libvirt makes a macvtap.

    It is ``macvtap0``, and the next one has the next number, also when a domain starts again.

    Args:
        mac: The instance's address, and the macvtap's.
        source: Device that the macvtap sits on.
        mode: How it shares that: ``bridge``, ``vepa``, ``private`` or ``passthrough``.
    """
    return f"""
<interface type='direct'>
  <mac address='{mac}'/>
  <source dev='{source}' mode='{mode}'/>
  <model type='virtio'/>
  <driver name='qemu'/>
  {NO_BOOT_CODE}
</interface>
"""


NO_BOOT_CODE = "<rom enabled='no'/>"
"""Otherwise QEMU's iPXE looks for somebody to boot from: frames that nobody sent."""
