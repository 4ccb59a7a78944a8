"""Bits of registers that OVN notes verdicts in, read from a switch in every form of writing one."""

import pytest

from agent.model.flow import MARKS
from lab.node import Node
from tests.node.flow_differential import VERSIONS, flows_of

VERDICT, REFUSED = 8, 10
ACTIONS = {
    "load:0x1->NXM_NX_REG10[12]": {REFUSED},
    "load:0x1->NXM_NX_REG10[12],resubmit(,74)": {REFUSED},
    "set_field:0x1000/0x1000->reg10": {REFUSED},
    "set_field:0x1000->reg10": {REFUSED},
    "load:0x1->OXM_OF_PKT_REG4[49]": {VERDICT},
    "load:0x1->OXM_OF_PKT_REG4[48],load:0x1->OXM_OF_PKT_REG4[49],resubmit(,9)": {VERDICT},
    "set_field:0x2000000000000/0x2000000000000->xreg4": {VERDICT},
    "load:0x1->NXM_NX_REG8[17],load:0x1->NXM_NX_REG10[12]": {VERDICT, REFUSED},
    "load:0x20000->NXM_NX_XXREG2[96..127]": {VERDICT},
    "load:0x1->NXM_NX_REG10[12],load:0->NXM_NX_REG10[12]": set(),
    "load:0x1->NXM_NX_REG10[11]": set(),
    "load:0->NXM_NX_REG10[12],resubmit(,73)": set(),
    "load:0x1->NXM_NX_REG0[12]": set(),
    "load:0x1->OXM_OF_PKT_REG4[17]": set(),  # of reg9
    "load:0x1->OXM_OF_PKT_REG5[49]": set(),  # the other bit
    "load:0x1->OXM_OF_PKT_REG5[44]": {REFUSED},
    "clone(load:0x1->NXM_NX_REG10[12]),resubmit(,9)": {REFUSED},
    "move:NXM_NX_REG10[12]->NXM_NX_XXREG0[111],resubmit(,9)": set(),
    "drop": set(),
}


def test_the_bits_are_those_of_the_two_registers() -> None:
    assert MARKS == {VERDICT: 1 << 17, REFUSED: 1 << 12}


@pytest.mark.node
def test_every_form_of_setting_a_bit_is_read(node: Node) -> None:
    node.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    node.vsctl("set", "Bridge", "br0", f"protocols=OpenFlow10,{','.join(VERSIONS)},OpenFlow15")
    flows = [
        f"table=1,priority={number},actions={actions}"
        for number, actions in enumerate(ACTIONS, start=1)
    ]
    for writer in ("OpenFlow14", "OpenFlow15"):  # ovn-controller speaks 1.5
        node.ofctl("-O", writer, "del-flows", "br0")
        node.ofctl("-O", writer, "add-flows", "br0", "-", stdin="\n".join(flows))
        for name, version in VERSIONS.items():
            read = {
                flow.priority: set(flow.effect.marks)
                for flow in flows_of(node, "br0", version)
                if flow.table_id == 1
            }
            assert read == dict(enumerate(ACTIONS.values(), start=1)), (writer, name)
