"""What ``check`` prints: a hint has to fit the peer that it is about."""

from typing import Any

from agent.check import lines
from agent.config import Settings
from agent.daemon import Agent
from agent.errors import Reason, SourceError
from agent.health import SourceHealth

SOCKET_WORDS = ("socket", "service", "--ovs")


def said(source: SourceHealth, *, kernel: bool) -> str:
    return "\n".join(lines([source], {source.name} if kernel else ()))


def down(name: str, reason: Reason, detail: str) -> SourceHealth:
    health = SourceHealth(name)
    health.failed(SourceError(reason, detail), "part")
    return health


def test_what_the_kernel_does_not_have_is_no_question_of_a_socket() -> None:
    for name, reason, detail in (
        ("conntrack", Reason.ABSENT, "zones: the kernel module nf_conntrack_netlink is not loaded"),
        ("netns", Reason.REFUSED, "3 beyond limits.namespaces (2) are not entered"),
        ("rtnetlink", Reason.REFUSED, "more than 10 forwarding entries"),
    ):
        text = said(down(name, reason, detail), kernel=True)
        assert text == f"{name}: down\n  part: {reason}: {detail}"


def test_a_missing_right_is_named() -> None:
    text = said(down("netns", Reason.DENIED, "entering a needs CAP_SYS_ADMIN"), kernel=True)
    assert "CAP_SYS_PTRACE" in text
    text = said(down("ovsdb", Reason.DENIED, "Permission denied"), kernel=False)
    assert "CAP_DAC_OVERRIDE" in text
    text = said(down("conntrack", Reason.DENIED, "Operation not permitted"), kernel=True)
    assert "CAP_NET_ADMIN" in text


def test_where_no_right_is_needed_none_is_named() -> None:
    text = said(down("rtnetlink", Reason.DENIED, "links: Permission denied"), kernel=True)
    assert "CAP_" not in text
    assert "seccomp" in text


def test_a_socket_that_is_missing_is_asked_for_by_its_flag() -> None:
    text = said(down("ovsdb", Reason.ABSENT, "No such file or directory"), kernel=False)
    assert all(word in text for word in SOCKET_WORDS)


def test_libvirt_asks_for_no_capability() -> None:
    text = said(down("libvirt", Reason.DENIED, "authentication failed"), kernel=False)
    assert "polkit" in text
    assert "CAP_" not in text
    text = said(down("libvirt", Reason.ABSENT, "no socket of libvirt: /run/x"), kernel=False)
    assert "--libvirt.uri" in text
    assert "--ovs" not in text


async def test_libvirt_that_no_collector_shows_is_not_missed() -> None:
    shown: dict[str, Any] = {"disable_defaults": True, "libvirt": {"enabled": True}}
    for collectors, missed in (({"namespace": True}, False), ({"instance": True}, True)):
        agent = Agent(Settings.model_validate({**shown, "collectors": collectors}))
        (libvirt,) = (each for each in agent.sources if each.name == "libvirt")
        assert libvirt.configured is missed


def test_what_all_namespaces_lack_is_said_once() -> None:
    health = SourceHealth("netns")
    for name in ("a", "b"):
        health.failed(SourceError(Reason.DENIED, f"entering {name} needs CAP_SYS_ADMIN"), name)
    text = said(health, kernel=True).splitlines()
    assert [line.split(":")[0].strip() for line in text[:3]] == ["netns", "a", "b"]
    assert len(text) == 4
