"""What the XML of a domain says of its interfaces and of the instance."""

from pathlib import Path

import pytest

from agent.errors import ParseError
from agent.model.domain import DomainInterface, Owner
from agent.wire.domain_xml import MAX_INTERFACES, MAX_PORTS, Description, parse_domain_xml

FIXTURES = Path(__file__).parent / "fixtures"
NOVA = "http://openstack.org/xmlns/libvirt/nova/1.1"
PORT = "13abc033-93d5-4f7e-9a56-2b1e0f4f6f10"


def recorded(name: str) -> Description:
    return parse_domain_xml((FIXTURES / f"{name}.xml").read_text(encoding="utf-8"))


def of_devices(devices: str, metadata: str = "") -> Description:
    return parse_domain_xml(
        f"<domain><metadata>{metadata}</metadata><devices>{devices}</devices></domain>"
    )


def only_interface(inside: str, kind: str = "ethernet", metadata: str = "") -> DomainInterface:
    (found,) = of_devices(f"<interface type='{kind}'>{inside}</interface>", metadata).interfaces
    return found


def nova(inside: str, uri: str = NOVA) -> str:
    return f"<nova:instance xmlns:nova='{uri}'>{inside}</nova:instance>"


def ports(*uuids: str) -> str:
    return nova("".join(f"<nova:port uuid='{each}'/>" for each in uuids).join(PORTS))


PORTS = "<nova:ports>", "</nova:ports>"


def owner_of(metadata: str) -> Owner:
    owner = of_devices("", metadata).owner
    assert owner is not None
    return owner


def test_an_instance_plugged_by_os_vif_has_its_ports_from_nova() -> None:
    assert recorded("recorded-ethernet-nova-1.1") == Description(
        interfaces=(
            DomainInterface(
                type="ethernet",
                mac="fa:16:3e:6d:9f:87",
                target_device="tap13abc033-93",
                model="virtio",
                iface_id="13abc033-93d5-4f7e-9a56-2b1e0f4f6f10",
            ),
            DomainInterface(
                type="ethernet",
                mac="fa:16:3e:9c:98:af",
                target_device="tap9113df4c-ca",
                model="virtio",
                iface_id="9113df4c-ca41-4c58-8f8d-0f3a5b6c7d88",
            ),
        ),
        owner=Owner(
            instance_name="balancer",
            flavor_name="amphora",
            project_id="512866f9994f4ad8916d8539a7cdeec9",
            project_name="service",
            user_id="ff627ad39ed94479b9c5033bc462cf78",
            user_name="octavia",
            ports=("13abc033-93d5-4f7e-9a56-2b1e0f4f6f10", "9113df4c-ca41-4c58-8f8d-0f3a5b6c7d88"),
        ),
    )


def test_an_instance_on_linux_bridges_has_its_owner_and_no_ports_from_an_old_nova() -> None:
    assert recorded("recorded-bridge-nova-1.0") == Description(
        interfaces=(
            DomainInterface(
                type="bridge",
                mac="fa:16:3e:79:bb:0b",
                target_device="tap9d34b34b-3f",
                model="virtio",
                source_bridge="brq6d947ca8-d4",
            ),
            DomainInterface(
                type="bridge",
                mac="fa:16:3e:bb:f5:60",
                target_device="tap26632aea-3c",
                model="virtio",
                source_bridge="brqc08e7dcd-4a",
            ),
        ),
        owner=Owner(
            instance_name="instance02",
            flavor_name="m1.milli",
            project_id="38bd8e984a3e435a87e950a441ee55aa",
            project_name="demo",
            user_id="18509018d00743c89518135e476003e0",
            user_name="admin",
        ),
    )


def test_each_kind_of_interface_says_what_it_has() -> None:
    found = recorded("kinds-9.0.0")
    assert found.owner is None
    assert [each.mac for each in found.interfaces] == [
        f"52:54:00:00:00:{number:02x}" for number in range(1, 13)
    ]
    assert [
        (each.type, each.target_device, each.model, each.source_bridge, each.socket_path)
        for each in found.interfaces
    ] == [
        ("ethernet", "nic02", "rtl8139", None, None),
        ("bridge", "vnet1", "virtio", "br-int", None),
        ("bridge", "vnet2", "e1000", "virbr0", None),
        ("network", "vnet3", "virtio", "virbr1", None),
        ("vhostuser", "vhu0d1e2f3a-4b", "virtio", None, "/run/openvswitch/vhu0d1e2f3a-4b"),
        ("vhostuser", None, "virtio", None, "/tmp/vhost1.sock"),  # noqa: S108 (only a text)
        ("hostdev", None, None, None, None),
        ("direct", "macvtap0", "virtio", None, None),
        ("vdpa", None, "virtio", None, None),
        ("user", None, "virtio", None, None),
        ("udp", None, "rtl8139", None, None),
        ("vds", None, "e1000e", None, None),
    ]


def test_the_port_of_a_virtualport_is_in_lower_case_and_other_parameters_are_none() -> None:
    assert [each.iface_id for each in recorded("kinds-9.0.0").interfaces if each.iface_id] == [
        "0e9c2f4a-5b7d-4c1e-8f3a-6d2b1a0c9e8f"
    ]


def test_the_parameters_of_a_virtualport_may_be_elements_of_their_own() -> None:
    inside = "<parameters profileid='p'/><parameters interfaceid='A'/>"
    assert only_interface(f"<virtualport>{inside}</virtualport>").iface_id == "a"


def test_a_domain_without_devices_has_an_owner_whose_own_element_may_be_missing() -> None:
    assert recorded("defined-nova-1.1") == Description(
        interfaces=(),
        owner=Owner(
            instance_name="database",
            flavor_name="m1.medium",
            ports=("77c1dc00-af39-4463-bea0-12808f4bc340",),
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        "<domain/>",
        "<?xml version='1.0' encoding='utf-16'?>\n<!-- a file of virsh -->\n<domain></domain>\n",
        "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:commandline/></domain>",
        "<domain><metadata/><devices/></domain>",
    ],
)
def test_an_empty_domain_is_nobodys(text: str) -> None:
    assert parse_domain_xml(text) == Description((), None)


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("FA:16:3E:6D:9F:87", "fa:16:3e:6d:9f:87"),
        ("fa:16:3e:6d:9f", None),
        ("fa:16:3e:6d:9f:87:00", None),
        ("fa-16-3e-6d-9f-87", None),
        ("fa:16:3e:6d:9f:8g", None),
        ("fa:16:3e:6d:9f:87&#10;", None),
        ("\N{FULLWIDTH DIGIT ONE}0:16:3e:6d:9f:87", None),
        ("", None),
    ],
)
def test_a_mac_is_six_pairs_of_digits(written: str, known: str | None) -> None:
    assert only_interface(f"<mac address='{written}'/>").mac == known


def test_what_is_empty_is_not_known() -> None:
    inside = (
        "<mac/><target dev=''/><model type=''/><source bridge='' path='' type='unix'/>"
        "<virtualport><parameters interfaceid=''/></virtualport>"
    )
    assert only_interface(inside, "vhostuser") == DomainInterface("vhostuser")


def test_an_unknown_kind_keeps_its_name_and_one_without_a_kind_is_left_out() -> None:
    devices = "<interface type='ipvtap'/><interface><mac/></interface><interface type=''/>"
    assert of_devices(devices).interfaces == (DomainInterface("ipvtap"),)


@pytest.mark.parametrize(
    ("kind", "source", "path"),
    [
        ("vhostuser", "type='unix' path='/run/a'", "/run/a"),
        ("vhostuser", "type='tcp' path='/run/a'", None),
        ("vhostuser", "path='/run/a'", None),
        ("vdpa", "type='unix' path='/run/a'", None),
    ],
)
def test_only_vhostuser_has_a_socket(kind: str, source: str, path: str | None) -> None:
    assert only_interface(f"<source {source}/>", kind).socket_path == path


def test_only_what_is_directly_in_an_interface_of_the_devices_counts() -> None:
    deeper = "<x><mac address='00:00:00:00:00:01'/><target dev='a'/></x>"
    assert only_interface(deeper) == DomainInterface("ethernet")
    elsewhere = "<hub><interface type='bridge'/></hub><x:interface xmlns:x='y' type='bridge'/>"
    assert of_devices(elsewhere, "<devices><interface type='a'/></devices>").interfaces == ()
    assert parse_domain_xml("<domain><interface type='bridge'/></domain>").interfaces == ()


def test_two_interfaces_with_one_device_are_both_told_in_order() -> None:
    one = "<interface type='{}'><target dev='tap0'/></interface>"
    found = of_devices(one.format("bridge") + one.format("ethernet")).interfaces
    assert [(each.type, each.target_device) for each in found] == [
        ("bridge", "tap0"),
        ("ethernet", "tap0"),
    ]


@pytest.mark.parametrize("prefix", ["tap", "vhu", "qvo", "vnt"])
def test_a_device_that_is_called_after_a_port_of_nova_is_that_port(prefix: str) -> None:
    target = f"<target dev='{prefix}{PORT[:11]}'/>"
    other = "9113df4c-ca41-4c58-8f8d-0f3a5b6c7d88"
    assert only_interface(target, metadata=ports(other, PORT.upper())).iface_id == PORT


def test_ports_are_found_wherever_the_metadata_stands() -> None:
    text = (
        f"<domain><devices><interface type='a'><target dev='tap{PORT[:11]}'/></interface></devices>"
        f"<metadata>{ports(PORT)}</metadata></domain>"
    )
    assert [each.iface_id for each in parse_domain_xml(text).interfaces] == [PORT]


@pytest.mark.parametrize(
    "device",
    [
        f"tap{PORT[:10]}",
        f"tap{PORT[:12]}",
        f"ta-{PORT[:11]}",
        f"tap{PORT[:10]}4",
        PORT[:14],
        "",
        "tap",
    ],
)
def test_a_device_of_another_name_is_no_port(device: str) -> None:
    assert only_interface(f"<target dev='{device}'/>", metadata=ports(PORT)).iface_id is None


def test_the_virtualport_goes_before_the_name_of_the_device() -> None:
    inside = (
        f"<target dev='tap{PORT[:11]}'/><virtualport><parameters interfaceid='x'/></virtualport>"
    )
    assert only_interface(inside, metadata=ports(PORT)).iface_id == "x"


@pytest.mark.parametrize("third", [(), (PORT,)])
def test_a_device_called_after_two_ports_is_neither(third: tuple[str, ...]) -> None:
    target = f"<target dev='tap{PORT[:11]}'/>"
    both = ports(PORT, f"{PORT[:-1]}1", *third)
    assert only_interface(target, metadata=both).iface_id is None
    assert only_interface(target, metadata=ports(PORT, PORT)).iface_id == PORT


@pytest.mark.parametrize("version", ["1.0", "1.1", "2.0"])
def test_any_version_of_novas_namespace_is_read(version: str) -> None:
    metadata = nova(
        "<nova:name>a</nova:name>", f"http://openstack.org/xmlns/libvirt/nova/{version}"
    )
    assert owner_of(metadata) == Owner("a")


@pytest.mark.parametrize(
    "metadata",
    [
        nova("<nova:name>a</nova:name>", "http://openstack.org/xmlns/libvirt/other/1.0"),
        "<nova:instance><nova:name>a</nova:name></nova:instance>",
        "<instance><name>a</name></instance>",
        f"<nova:server xmlns:nova='{NOVA}'><nova:name>a</nova:name></nova:server>",
        f"<x:y xmlns:x='z'>{nova('<nova:name>a</nova:name>')}</x:y>",
    ],
)
def test_what_is_not_novas_instance_is_no_owner(metadata: str) -> None:
    assert of_devices("", metadata).owner is None


@pytest.mark.parametrize(
    "metadata",
    [
        f"<instance xmlns='{NOVA}'><name>a</name></instance>",
        f"<n:instance xmlns:n='{NOVA}' xmlns:o='{NOVA}'><o:name>a</o:name></n:instance>",
        f"<n:instance xmlns:n='{NOVA}'><n:name>a</n:name><name>b</name></n:instance>",
        f"<n:instance xmlns:n='{NOVA}' xmlns:x='y'><n:name>a</n:name><x:name/></n:instance>",
    ],
)
def test_a_prefix_is_what_it_was_declared_to_be(metadata: str) -> None:
    assert owner_of(metadata) == Owner("a")


def test_a_prefix_may_be_declared_outside_and_again_inside() -> None:
    inside = "<nova:instance{}><nova:name>a</nova:name></nova:instance>"
    text = f"<domain xmlns:nova='{NOVA}'><metadata>{inside}</metadata></domain>"
    assert parse_domain_xml(text.format("")).owner == Owner("a")
    assert parse_domain_xml(text.format(" xmlns:nova='x'")).owner is None
    beside = f"<domain><metadata>{nova('')}{inside.format('')}</metadata></domain>"
    assert parse_domain_xml(beside).owner == Owner()


def test_of_two_instances_the_last_counts_whole() -> None:
    older = "<nova:name>a</nova:name><nova:flavor name='f'/><nova:ports><nova:port uuid='p'/>"
    metadata = nova(f"{older}</nova:ports>", f"{NOVA[:-1]}0") + nova("<nova:name>b</nova:name>")
    assert owner_of(metadata) == Owner("b")


def test_names_are_found_only_in_their_places() -> None:
    metadata = nova(
        "<nova:image><nova:name>no</nova:name><nova:user uuid='no'>no</nova:user></nova:image>"
        "<nova:user>no</nova:user><nova:port uuid='no'/><nova:owner><nova:name>no</nova:name>"
        "</nova:owner><nova:name>yes<nova:name>no</nova:name>no</nova:name>"
    )
    assert owner_of(metadata) == Owner("yes")


def test_texts_of_nova_are_stripped_and_empty_ones_are_not_known() -> None:
    metadata = nova(
        "<nova:name>\n  a <b/>\n</nova:name><nova:flavor name='  '/><nova:owner>"
        "<nova:user uuid=' u '> \N{NO-BREAK SPACE} </nova:user><nova:project uuid=''/></nova:owner>"
        "<nova:ports><nova:port/><nova:port uuid=' '/><nova:port uuid=' P '/></nova:ports>"
    )
    assert owner_of(metadata) == Owner(instance_name="a", user_id="u", ports=("p",))


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("a&quot;b&apos;c\\", "a\"b'c\\"),
        ("a\nb&#10;c\td", "a\nb\nc\td"),
        ("<![CDATA[<nova:name>]]>&amp;", "<nova:name>&"),
        ("a<!-- no -->b<?no no?>c", "abc"),
        ("\N{RIGHT-TO-LEFT MARK}a\N{RIGHT-TO-LEFT OVERRIDE}b", "\u200fa\u202eb"),
        ("\N{SNOWMAN}\N{GRINNING FACE}&#x1F600;", "\N{SNOWMAN}\N{GRINNING FACE}\N{GRINNING FACE}"),
        ("x" * 10_000, "x" * 1024),
        (" " * 70_000 + "x y" * 30_000, ("x y" * 342)[:1024]),
        ("\N{GRINNING FACE}\n" * 70_000, ("\N{GRINNING FACE}\n" * 512)[:1023]),
    ],
)
def test_a_name_is_kept_as_it_is_and_cut(written: str, known: str) -> None:
    assert owner_of(nova(f"<nova:name>{written}</nova:name>")).instance_name == known


def test_a_long_attribute_is_cut() -> None:
    long = "X" * 100_000
    inside = (
        f"<mac address='{long}'/><target dev='{long}'/><model type='{long}'/>"
        f"<source bridge='{long}'/><virtualport><parameters interfaceid='\u0130{long}'/>"
        "</virtualport>"
    )
    assert only_interface(inside, long, ports(long)) == DomainInterface(
        type="X" * 1024,
        target_device="X" * 1024,
        model="X" * 1024,
        source_bridge="X" * 1024,
        iface_id="i\u0307" + "x" * 1022,
    )
    assert owner_of(ports(long)).ports == ("x" * 1024,)


def test_as_many_interfaces_and_ports_as_allowed_and_no_more() -> None:
    one = "<interface type='user'/>"
    assert len(of_devices(one * MAX_INTERFACES).interfaces) == MAX_INTERFACES
    with pytest.raises(ParseError, match=r"^more than 512 interfaces$"):
        of_devices(one * (MAX_INTERFACES + 1))
    assert len(owner_of(ports(*("p",) * MAX_PORTS)).ports) == MAX_PORTS
    with pytest.raises(ParseError, match=r"^more than 512 ports$"):
        of_devices("", ports(*("p",) * (MAX_PORTS + 1)))
