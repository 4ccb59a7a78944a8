"""The instances of the sample node: of Nova and not, running and not, on both kinds of bridge."""

import numpy as np

from agent.model.domain import FIELDS, Domain, DomainCounters, DomainInterface, Owner

RUNNING, PAUSED, SHUT_OFF = 1, 3, 5

AMPHORA = Domain(
    "3cf00c5f-e813-4789-a4bc-000000000005",
    "instance-00000007",
    RUNNING,
    (
        DomainInterface("ethernet", "fa:16:3e:6d:9f:87", "tap13abc033-93", "virtio"),
        DomainInterface("ethernet", "fa:16:3e:9c:98:af", "tap9113df4c-ca", "virtio"),
    ),
    Owner(
        "amphora-d22c0427-7b81-485e-939b-0a5eb9f33d4b",
        "amphora",
        "bccf406c045d401b91ba5c7552a124ae",
        "service",
        "5b1f2a6b9d6f4b1c8a1d2f3e4c5b6a79",
        "octavia",
    ),
)
ON_LINUX_BRIDGE = Domain(
    "3cf00c5f-e813-4789-a4bc-114bf24bb2b0",
    "instance-0000000f",
    PAUSED,
    (
        DomainInterface(
            "bridge",
            "fa:16:3e:79:bb:0b",
            "tap9d34b34b-3f",
            "virtio",
            "brq6d947ca8-d4",
            iface_id="9d34b34b-3f6a-4cb1-93b5-6f9a05c1f8f1",
        ),
        DomainInterface(
            "bridge", "fa:16:3e:bb:f5:60", "tap26632aea-3c", "virtio", "brqc08e7dcd-4a"
        ),
        DomainInterface("hostdev", "fa:16:3e:00:00:77"),
    ),
)
STOPPED = Domain(
    "00000000-0000-4000-8000-000000000002",
    'a "b"',
    SHUT_OFF,
    # the name of a tap that another instance has now
    (DomainInterface("ethernet", "fa:16:3e:00:00:02", "tap13abc033-93", "e1000"),),
    Owner(instance_name='quoted "name"\n', project_id="p"),
)
DOMAINS = {domain.uuid: domain for domain in (STOPPED, ON_LINUX_BRIDGE, AMPHORA)}

DEVICES = (
    (AMPHORA.name, "tap13abc033-93"),
    (AMPHORA.name, "tap9113df4c-ca"),
    (ON_LINUX_BRIDGE.name, "tap26632aea-3c"),
    (ON_LINUX_BRIDGE.name, "tap9d34b34b-3f"),
)
NUMBERS = np.arange(20_000, 20_000 + 8 * len(DEVICES), dtype=np.uint64).reshape(-1, len(FIELDS))
NUMBERS[3, 2] = np.iinfo(np.uint64).max  # libvirt could not read it
COUNTERS = DomainCounters(DEVICES, NUMBERS)
