"""Bridges in which the fate of every packet is known, because they were built so.

Each case is one bridge with ports 1 to 4. What is booked is written down from the definition of
fate, what is delivered and what the datapath drops by its explicit action from the flows alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab import frames
from tests.node.packets import ANN, BOB

Sent = tuple[int, int] | tuple[int, int, bytes]
"""Port, number of packets, and the packet unless it is ``FRAME``."""

BACK = frames.udp(BOB, ANN, 2000, 1000, b"from bob to ann")
BPDU = frames.ethernet(ANN.mac, "01:80:c2:00:00:00", 0x88CC, bytes(46))


@dataclass(frozen=True)
class Case:
    """A bridge, packets, and what becomes of them.

    Attributes:
        flows: As ``ovs-ofctl add-flows`` reads them.
        sent: In this order.
        lost: Packets by table.
        copy: Likewise.
        delivered: Packets that leave through ports, each copy counted.
        explicit: Packets whose datapath flow is nothing but the explicit drop action [coverage
            counter drop_action_of_pipeline]; ``None``: as many as are lost.
        missed: Packets by table that matched no flow there.
        groups: As ``ovs-ofctl add-groups`` reads them.
    """

    flows: str
    sent: tuple[Sent, ...]
    lost: Mapping[int, int] = field(default_factory=dict)
    copy: Mapping[int, int] = field(default_factory=dict)
    delivered: int = 0
    explicit: int | None = None
    missed: Mapping[int, int] = field(default_factory=dict)
    groups: str = ""


PLAIN = {
    "a drop in table 0 is lost": Case(
        "in_port=1 actions=drop\nin_port=3 actions=output:2",
        ((1, 3), (3, 2)),
        lost={0: 3},
        delivered=2,
    ),
    "a loss through a closed table is booked once, where it was sent there": Case(
        """
        actions=resubmit(,71)
        table=71,in_port=1 actions=resubmit(,93)
        table=71,in_port=3 actions=output:2
        table=93 actions=drop
        """,
        ((1, 4), (3, 1)),
        lost={71: 4},
        delivered=1,
    ),
    "a loss through two closed tables is booked where it left the open one": Case(
        """
        in_port=1 actions=resubmit(,10)
        in_port=3 actions=output:2
        table=10 actions=goto_table:20
        table=20 actions=drop
        """,
        ((1, 5), (3, 1)),
        lost={0: 5},
        delivered=1,
    ),
    "a packet that meets two drops is lost once": Case(
        """
        in_port=1 actions=resubmit(,10),resubmit(,20)
        in_port=3 actions=output:2
        table=10 actions=drop
        table=20 actions=drop
        """,
        ((1, 4), (3, 2)),
        lost={0: 4},
        delivered=2,
    ),
    "a bridge where nothing is open loses everything in table 0": Case(
        "actions=resubmit(,10)\ntable=10 actions=drop",
        ((1, 2), (2, 3)),
        lost={0: 5},
    ),
    # The one place where n_packets of table 0, which counts visits, is booked as it stands.
    "a bridge where nothing is open books each visit of table 0": Case(
        """
        reg0=0 actions=load:1->NXM_NX_REG0[],resubmit(,10)
        reg0=1 actions=drop
        table=10 actions=resubmit(,0)
        """,
        ((1, 3),),
        lost={0: 6},
        explicit=3,
    ),
    "a packet without a flow is missed, not lost by a flow": Case(
        """
        in_port=1 actions=resubmit(,10)
        in_port=3 actions=output:2
        table=10,in_port=3 actions=output:2
        """,
        ((1, 3), (3, 2), (4, 4)),
        delivered=2,
        explicit=7,  # 0 lost: a packet without a flow has no actions either
        missed={0: 4, 10: 3},
    ),
}

COPIES = {
    "a packet that is delivered twice is not lost": Case(
        """
        actions=resubmit(,10),resubmit(,20)
        table=10 actions=output:2
        table=20 actions=output:3
        """,
        ((1, 3),),
        delivered=6,
    ),
    "a branch that drops beside one that delivers loses a copy": Case(
        """
        actions=resubmit(,10),resubmit(,20)
        table=10 actions=output:2
        table=20,in_port=1 actions=drop
        table=20,in_port=3 actions=output:4
        """,
        ((1, 3), (3, 2)),
        copy={20: 3},
        delivered=3 + 2 * 2,
    ),
    "a closed table beside a delivery books nothing at all": Case(
        """
        actions=resubmit(,10),resubmit(,20)
        table=10 actions=output:2
        table=20 actions=drop
        """,
        ((1, 3),),
        delivered=3,
    ),
    # Only the datapath, which sees the whole way of a packet, can tell the two apart.
    "a table that copies reach books originals as copies too": Case(
        """
        in_port=1 actions=resubmit(,20)
        in_port=3 actions=output:2,resubmit(,20)
        table=20,udp actions=drop
        table=20,tcp actions=output:4
        """,
        ((1, 3), (3, 2)),
        copy={20: 5},
        delivered=2,
        explicit=3,
    ),
    "a clone that drops beside a delivery loses a copy": Case(
        """
        actions=clone(resubmit(,20)),output:2
        table=20,in_port=1 actions=drop
        table=20,in_port=3 actions=output:4
        """,
        ((1, 3), (3, 1)),
        copy={20: 3},
        delivered=3 + 2,
    ),
    "a clone into a closed table is lost": Case(
        """
        in_port=1 actions=clone(resubmit(,93))
        in_port=3 actions=clone(output:2)
        table=93 actions=drop
        """,
        ((1, 4), (3, 2)),
        lost={0: 4},
        delivered=2,
    ),
}

ACTION_SETS = {
    "write_actions delivers at the end, whatever drop stands there": Case(
        "actions=write_actions(output:2),goto_table:10\ntable=10 actions=drop",
        ((1, 3),),
        delivered=3,
    ),
    "clear_actions loses what write_actions would have delivered": Case(
        """
        actions=write_actions(output:2),goto_table:10
        table=10,in_port=1 actions=clear_actions
        table=10,in_port=3 actions=drop
        """,
        ((1, 4), (3, 2)),
        lost={10: 4},
        delivered=2,
    ),
    "a table that only clears the action set is a closed one": Case(
        """
        in_port=1 actions=write_actions(output:2),goto_table:10
        in_port=3 actions=output:2
        table=10 actions=clear_actions
        """,
        ((1, 4), (3, 2)),
        lost={0: 4},
        delivered=2,
    ),
    # Not what the OpenFlow specification says of a miss, but what Open vSwitch does.
    "a table without flows ends the pipeline, and the action set delivers": Case(
        "actions=write_actions(output:2),goto_table:10",
        ((1, 3),),
        delivered=3,
        missed={10: 3},
    ),
    "a miss ends the pipeline too, and the action set delivers": Case(
        """
        actions=write_actions(output:2),goto_table:10
        table=10,in_port=3 actions=clear_actions
        """,
        ((1, 4), (3, 2)),
        lost={10: 2},
        delivered=4,
        missed={10: 4},
    ),
}

CONNTRACK = {
    "ct without a table is the end of a packet": Case(
        """
        udp actions=ct(table=82)
        table=82,udp,ct_state=+new+trk actions=ct(commit),output:2
        table=82,udp,ct_state=+est+rpl+trk actions=output:1
        table=82,udp,ct_state=+est-rpl+trk actions=ct(commit,exec(load:1->NXM_NX_CT_MARK[]))
        """,
        ((1, 1), (2, 2, BACK), (1, 5)),
        lost={82: 5},
        delivered=1 + 2,
        explicit=0,  # 5 lost: the datapath has ct(commit) to do with them
    ),
    "ct with a table continues there": Case(
        """
        udp actions=ct(table=10)
        table=10,in_port=1 actions=drop
        table=10,in_port=3 actions=output:2
        """,
        ((1, 4), (3, 2)),
        lost={10: 4},
        delivered=2,
    ),
}

GROUPS = {
    "a group of type all with an empty bucket loses nothing": Case(
        "actions=group:1",
        ((1, 3),),
        delivered=3,
        groups="group_id=1,type=all,bucket=actions=output:2,bucket=actions=drop",
    ),
    "buckets of a group of type all get copies": Case(
        """
        actions=group:1
        table=20,in_port=1 actions=drop
        table=20,in_port=3 actions=output:4
        """,
        ((1, 3), (3, 1)),
        copy={20: 3},
        delivered=3 + 2,
        groups="group_id=1,type=all,bucket=actions=output:2,bucket=actions=resubmit(,20)",
    ),
    "a bucket that is selected gets the packet itself": Case(
        """
        actions=group:1
        table=20,in_port=1 actions=drop
        table=20,in_port=3 actions=output:4
        """,
        ((1, 3), (3, 1)),
        lost={20: 3},
        delivered=1,
        groups="group_id=1,type=select,bucket=actions=resubmit(,20),bucket=actions=resubmit(,20)",
    ),
    "a group that is proven to deliver nothing loses": Case(
        """
        in_port=1 actions=group:1
        in_port=2 actions=group:2
        in_port=3 actions=group:3
        in_port=4 actions=output:3
        table=93 actions=drop
        """,
        ((1, 2), (2, 3), (3, 4), (4, 1)),
        lost={0: 9},
        delivered=1,
        groups="""
        group_id=1,type=all
        group_id=2,type=indirect,bucket=actions=drop
        group_id=3,type=select,bucket=actions=resubmit(,93),bucket=actions=drop
        """,
    ),
    "a group in the action set is judged like any": Case(
        """
        in_port=1 actions=write_actions(group:1),goto_table:10
        in_port=3 actions=write_actions(group:2),goto_table:20
        table=10 actions=drop
        table=20 actions=drop
        """,
        ((1, 3), (3, 2)),
        lost={0: 3},
        delivered=2,
        groups="group_id=1,type=indirect,bucket=actions=drop\ngroup_id=2,type=indirect,bucket=actions=output:2",
    ),
}

OTHERS = {
    "a clause of a conjunction loses nothing, what it leads to does": Case(
        """
        conj_id=7,udp actions=drop
        priority=40000,udp,nw_src=10.0.0.1 actions=conjunction(7,1/2)
        priority=40000,udp,tp_dst=2000 actions=conjunction(7,2/2)
        priority=1,udp actions=output:2
        """,
        ((1, 3), (3, 2, BACK)),
        lost={0: 3},
        delivered=2,
    ),
    "learning alone delivers nothing": Case(
        """
        in_port=1 actions=learn(table=10,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])
        in_port=3 actions=output:2
        """,
        ((1, 3), (3, 2)),
        lost={0: 3},
        delivered=2,
    ),
    "a packet for a controller is not lost, connected or not": Case(
        "actions=CONTROLLER",
        ((1, 3),),
    ),
    "neutron's drop log is a drop, also with a controller action": Case(
        """
        actions=resubmit(,71)
        table=23 actions=drop
        table=71,in_port=1 actions=resubmit(,93)
        table=71,in_port=2 actions=ct_clear,resubmit(,93)
        table=71,in_port=3 actions=resubmit(,72)
        table=72 actions=resubmit(,73)
        table=73 actions=resubmit(,81)
        table=81 actions=resubmit(,82)
        table=82 actions=output:4,resubmit(,92)
        table=92 actions=CONTROLLER
        table=93,in_port=1 actions=CONTROLLER
        table=93,in_port=2 actions=drop
        """,
        ((1, 3), (2, 4), (3, 2)),
        lost={71: 7},
        delivered=2,
        explicit=4,  # 7 lost: the datapath has to send the 3 others up
    ),
}

UNSEEN = {
    "NORMAL drops what it will not forward, and fate does not see it": Case(
        "actions=NORMAL",
        ((1, 3, BPDU),),
        explicit=3,
    ),
    "fate does not see an output to the port of entry, nor to one that is gone": Case(
        "in_port=1 actions=output:1\nin_port=2 actions=output:77",
        ((1, 3), (2, 2)),
        explicit=5,
    ),
    "fate does not see an exit before the output": Case(
        "actions=exit,output:2",
        ((1, 3),),
        explicit=3,
    ),
    "fate does not see which bucket is selected": Case(
        "actions=group:1",
        ((1, 3),),
        explicit=3,
        groups="group_id=1,type=select,bucket=weight:0,actions=output:2,bucket=actions=drop",
    ),
    # Open vSwitch has one action set for all branches and executes it at the very end.
    "fate does not see that an action set is cleared by another branch": Case(
        """
        actions=write_actions(output:2),goto_table:10
        table=10 actions=resubmit(,20),clear_actions
        table=20 actions=drop
        """,
        ((1, 3),),
        explicit=3,
    ),
}

CASES = {**PLAIN, **COPIES, **ACTION_SETS, **CONNTRACK, **GROUPS, **OTHERS, **UNSEEN}
