"""Builds a compute node out of real parts: the ground under the demo, the tests, the benchmarks.

Start reading at ``node.Node`` (Open vSwitch in a network namespace of its own),
``hypervisor.Hypervisor`` (libvirtd with domains, the same) and ``compute.ComputeNode`` (a recorded
OpenStack node, rebuilt). Needs root and Debian's ``openvswitch-switch``, ``iproute2``,
``prometheus`` and ``libvirt-daemon-system``; ``make setup`` installs them.
"""
