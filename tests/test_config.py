"""YAML < environment < flags, and everything that is wrong said at once, before a socket opens."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.addresses import libvirt_sockets, parse_address
from agent.collectors import NAMES, ON_REQUEST
from agent.config import (
    ENV_PREFIX,
    MAX_FILE_BYTES,
    ConfigError,
    Settings,
    load,
)
from agent.flow_rules import MAX_COOKIE, Rule, parse_cookie
from agent.sections import OTHER_PATHS


def loaded(
    tmp_path: Path,
    yaml: str | bytes = "",
    flags: Mapping[str, Any] | None = None,
    **environ: str,
) -> Settings:
    """Load from a file with this content; the environment's names are given without the prefix."""
    return load_all(tmp_path, yaml, flags or {}, environ)


def load_all(
    tmp_path: Path, yaml: str | bytes, flags: Mapping[str, Any], environ: Mapping[str, str]
) -> Settings:
    file = tmp_path / "agent.yaml"
    file.write_bytes(yaml if isinstance(yaml, bytes) else yaml.encode())
    return load(file, {f"{ENV_PREFIX}{name}": text for name, text in environ.items()}, flags)


def problems(
    tmp_path: Path,
    yaml: str | bytes = "",
    flags: Mapping[str, Any] | None = None,
    **environ: str,
) -> list[str]:
    """Return what is wrong."""
    with pytest.raises(ConfigError) as caught:
        load_all(tmp_path, yaml, flags or {}, environ)
    assert str(caught.value) == "; ".join(caught.value.problems)
    assert not any("\n" in each for each in caught.value.problems)
    return [each.replace(str(tmp_path / "agent.yaml"), "FILE") for each in caught.value.problems]


def test_without_open_vswitch_only_what_it_is_asked_by_name_runs(tmp_path: Path) -> None:
    off = loaded(tmp_path, "ovs: {enabled: false}")
    assert off.enabled() == (
        "agent", "conntrack", "domain", "instance", "link", "linux_bridge", "namespace",
        "ovn_controller", "ovn_database", "qdisc", "tunnel",
    )  # fmt: skip
    assert "flow" in loaded(tmp_path, "ovs: {enabled: false}\ncollectors: {flow: true}").enabled()


def test_without_libvirt_its_domains_have_nothing_to_show(tmp_path: Path) -> None:
    off = loaded(tmp_path, "libvirt: {enabled: false}")
    assert "domain" not in off.enabled()
    assert "instance" in off.enabled(), "Open vSwitch knows instances, too"
    assert loaded(tmp_path, "libvirt: {enabled: auto}").libvirt.enabled == "auto"
    assert loaded(tmp_path, "libvirt: {enabled: true}").libvirt.enabled is True


@pytest.mark.parametrize(
    ("uri", "sockets"),
    [
        (
            "qemu:///system",
            ("/run/libvirt/virtqemud-sock-ro", "/run/libvirt/libvirt-sock-ro"),
        ),
        ("lxc:///", ("/run/libvirt/virtlxcd-sock-ro", "/run/libvirt/libvirt-sock-ro")),
        ("qemu+unix:///system?socket=/run/kolla/libvirt-sock-ro", ("/run/kolla/libvirt-sock-ro",)),
        ("qemu:///session", ()),
    ],
)
def test_a_libvirt_uri_says_which_socket_has_to_be_there(
    uri: str, sockets: tuple[str, ...], tmp_path: Path
) -> None:
    assert libvirt_sockets(loaded(tmp_path, f"libvirt: {{uri: '{uri}'}}").libvirt.uri) == sockets


@pytest.mark.parametrize(
    "uri",
    [
        "qemu+ssh://root@other/system",  # starts ssh
        "qemu+ext:///system?command=/bin/sh",  # starts whatever is named
        "qemu+libssh2://other/system",
        "qemu+tcp://other/system",
        "qemu://other/system",  # TLS to another node
        "qemu:///embed?root=/tmp/root",  # would be libvirtd itself, in this process
        "qemu:///emb%65d?root=/tmp/root",
        "esx://vcenter/",
        "qemu",
        "",
        "qemu:///system?socket=/a&socket=/b",
        "qemu:///system?socket=" + "/a" * 60,
    ],
)
def test_a_libvirt_uri_that_leads_elsewhere_or_starts_a_program_is_refused(
    uri: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, f"libvirt: {{uri: '{uri}'}}")
    assert raised.value.problems[0].startswith("libvirt.uri: ")


def test_without_any_source_there_are_the_defaults() -> None:
    settings = load(None, {}, {})
    assert settings == Settings()
    assert settings.enabled() == tuple(name for name in NAMES if name not in ON_REQUEST)
    assert settings.ovs.remote == "unix:/run/openvswitch/db.sock"


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == loaded(tmp_path, "# nothing\n") == Settings()


# Precedence


def test_the_environment_is_above_the_file_and_a_flag_above_both(tmp_path: Path) -> None:
    yaml = "log: {level: error}\n"
    assert loaded(tmp_path, yaml).log.level == "error"
    assert loaded(tmp_path, yaml, LOG__LEVEL="warning").log.level == "warning"
    flags = {"log": {"level": "debug"}}
    assert loaded(tmp_path, yaml, flags, LOG__LEVEL="warning").log.level == "debug"
    assert loaded(tmp_path, yaml, flags).log.level == "debug"


def test_a_source_that_sets_one_key_of_a_section_leaves_the_others(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "web: {max_requests: 1, telemetry_path: /file}\nlog: {format: json}\n",
        {"web": {"max_requests": "3"}},
        WEB__TELEMETRY_PATH="/environment",
        WEB__MAX_REQUESTS="2",
    )
    assert settings.web.max_requests == 3
    assert settings.web.telemetry_path == "/environment"
    assert settings.web.listen_address == [":10978"]
    assert settings.log.format == "json"


def test_a_list_is_replaced_and_not_appended_to(tmp_path: Path) -> None:
    yaml = "web: {listen_address: [':1', ':2']}\n"
    environ = {"WEB__LISTEN_ADDRESS": '[":3"]'}
    assert loaded(tmp_path, yaml).web.listen_address == [":1", ":2"]
    assert load_all(tmp_path, yaml, {}, environ).web.listen_address == [":3"]
    flags = {"web": {"listen_address": [":4"]}}
    assert load_all(tmp_path, yaml, flags, environ).web.listen_address == [":4"]


def test_a_whole_section_and_one_of_its_keys_may_both_stand_in_the_environment(
    tmp_path: Path,
) -> None:
    settings = loaded(
        tmp_path,
        WEB='{"max_requests": 1, "telemetry_path": "/json"}',
        WEB__MAX_REQUESTS="2",
    )
    assert (settings.web.max_requests, settings.web.telemetry_path) == (2, "/json")


def test_the_environment_counts_with_our_prefix_only() -> None:
    environ = {"LOG__LEVEL": "debug", "OTHER_LOG__LEVEL": "x", "PATH": "/bin", "HOME": ""}
    assert load(None, environ, {}) == Settings()


@pytest.mark.parametrize("name", ["LOG__LEVEL", "log__level", "Log__Level"])
def test_case_does_not_count_behind_the_prefix(tmp_path: Path, name: str) -> None:
    assert load_all(tmp_path, "", {}, {name: "debug"}).log.level == "debug"


def test_loading_changes_neither_flags_nor_environment(tmp_path: Path) -> None:
    flags = {"web": {"max_requests": "3"}}
    loaded(tmp_path, "web: {telemetry_path: /m}\n", flags, WEB__MAX_REQUESTS="1")
    assert flags == {"web": {"max_requests": "3"}}


# Everything that is wrong


def test_every_problem_of_every_source_is_told_at_once_with_its_path(tmp_path: Path) -> None:
    assert problems(
        tmp_path,
        "limits: {series: 1}\nscrape: {share_seconds: 6, foo: 1}\nbar: 2\n_env_file: x\n"
        "collectors: {flows: true}\nweb: {telemetry_path: /status}\n",
        {"web": {"max_requests": "many"}, "log": {"format": "xml"}},
        WEB__LISTEN_ADDRESS='["localhost", ":80", "::1:80"]',
        FLOWS__MODE="some",
        FLOWS__NOPE="1",
        NOPE="1",
        TIMEOUTS="5",
        INTERFACES__CUSTOM_STATISTICS="rx_*",
    ) == [
        "DATAPLANE_AGENT_INTERFACES__CUSTOM_STATISTICS: not JSON",
        "DATAPLANE_AGENT_NOPE: no such setting",
        "_env_file: no such setting",
        "bar: no such setting",
        "collectors: no such collector: flows",
        "flows.mode: Input should be 'auto', 'selected', 'all' or 'off'",
        "flows.nope: no such setting",
        "limits.series: Input should be greater than or equal to 100",
        "log.format: Input should be 'logfmt' or 'json'",
        "scrape.foo: no such setting",
        "scrape.share_seconds: Input should be less than or equal to 5",
        "timeouts: Input should be a valid dictionary or instance of Timeouts",
        (
            "web.listen_address: 'localhost' is not HOST:PORT; "
            "'::1:80': an IPv6 address stands in brackets"
        ),
        "web.max_requests: Input should be a valid integer, unable to parse string as an integer",
        "web.telemetry_path: /status is taken",
    ]


def test_a_file_that_cannot_be_read_does_not_hide_what_else_is_wrong(tmp_path: Path) -> None:
    found = problems(tmp_path, "a: b: c\n", LOG__LEVEL="loud")
    assert len(found) == 2
    assert found[0].startswith("FILE: ")
    assert found[1].startswith("log.level: ")


@pytest.mark.parametrize(
    ("yaml", "what"),
    [
        ("a: b: c\n", "mapping values are not allowed here"),
        ("- a\n- b\n", "not a mapping of settings"),
        ("text\n", "not a mapping of settings"),
        ("1: 2\n", "not a mapping of settings"),
        (b"\xff\xfe", "can't decode byte 0xff"),
        (b"a: \x00", "not allowed"),
        ("log: !!python/object:os.system {}\n", "could not determine a constructor"),
        ("log: 2024-13-45\n", "month must be in 1..12"),
        ("log: " + "9" * 5000, "4300 digits"),
        ("[" * 20_000, "nested too deeply"),
        ("# " + "x" * MAX_FILE_BYTES, f"larger than {MAX_FILE_BYTES} bytes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_file_that_is_no_mapping_of_settings_is_one_problem(
    tmp_path: Path, yaml: str | bytes, what: str
) -> None:
    (found,) = problems(tmp_path, yaml)
    assert found.startswith("FILE: ")
    assert what in found


@pytest.mark.parametrize(
    ("name", "what"), [("nowhere.yaml", "No such file"), ("", "Is a directory")]
)
def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path, name: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        load(tmp_path / name, {}, {})


def test_a_file_without_end_is_a_problem() -> None:
    with pytest.raises(ConfigError, match="larger than"):
        load(Path("/dev/zero"), {}, {})


def test_a_file_just_as_large_as_allowed_is_read(tmp_path: Path) -> None:
    assert loaded(tmp_path, "#" + "x" * (MAX_FILE_BYTES - 1)) == Settings()


@pytest.mark.parametrize(
    "name", ["_env_file", "_cli_parse_args", "_secrets_dir", "__pydantic_self__", "model_config"]
)
def test_arguments_of_the_settings_library_are_no_settings(tmp_path: Path, name: str) -> None:
    assert problems(tmp_path, f"{name}: true\n") == [f"{name}: no such setting"]


@pytest.mark.parametrize(
    ("yaml", "problem"),
    [
        ("ovs: {db: 'ssl:1.2.3.4:6640'}", "ovs.db: "),
        ("ovs: {db: 'tcp:localhost'}", "ovs.db: "),
        ("web: {listen_address: []}", "web.listen_address: List should have at least 1 item"),
        ("web: {listen_address: ':80'}", "web.listen_address: Input should be a valid list"),
        ("web: {telemetry_path: metrics}", "web.telemetry_path: String should match pattern"),
        ("web: {telemetry_path: /}", "web.telemetry_path: String should match pattern"),
        ('web: {telemetry_path: "/m\\n"}', "web.telemetry_path: String should match pattern"),
        ("web: {max_requests: -1}", "web.max_requests: Input should be greater"),
        ("scrape: {share_seconds: .nan}", "scrape.share_seconds: "),
        ("scrape: {deadline_seconds: 0}", "scrape.deadline_seconds: "),
        ("scrape: {deadline_seconds: 61}", "scrape.deadline_seconds: "),
        ("scrape: {state_max_age_seconds: .nan}", "scrape.state_max_age_seconds: "),
        ("collectors: {flow: maybe}", "collectors.flow: Input should be a valid boolean"),
        ("collectors: [flow]", "collectors: Input should be a valid dictionary"),
        ("log: {level: INFO}", "log.level: Input should be"),
        ("log: debug", "log: Input should be a valid dictionary"),
    ],
)
def test_a_bad_value_is_told_with_its_path(tmp_path: Path, yaml: str, problem: str) -> None:
    (found,) = problems(tmp_path, yaml)
    assert found.startswith(problem)


@pytest.mark.parametrize("path", OTHER_PATHS)
def test_metrics_cannot_be_served_where_something_else_is(tmp_path: Path, path: str) -> None:
    assert problems(tmp_path, f"web: {{telemetry_path: {path}}}") == [
        f"web.telemetry_path: {path} is taken"
    ]


@given(st.text(max_size=50))
def test_any_text_in_a_flag_or_the_environment_is_a_value_or_a_problem(text: str) -> None:
    for environ, flags in (
        ({f"{ENV_PREFIX}WEB__LISTEN_ADDRESS": text}, {}),
        ({f"{ENV_PREFIX}WEB": text}, {}),
        ({f"{ENV_PREFIX}{text}": "1"}, {}),
        ({}, {"web": {"listen_address": [text], "telemetry_path": text}}),
        ({}, {"ovs": {"db": text}}),
    ):
        with contextlib.suppress(ConfigError):
            load(None, environ, flags)


# Collectors


def test_collectors_are_switched_off_by_name(tmp_path: Path) -> None:
    off = {"flow", "table", *ON_REQUEST}
    expected = tuple(name for name in NAMES if name not in off)
    assert loaded(tmp_path, "collectors: {flow: false, table: false}").enabled() == expected
    environ = {"COLLECTORS__FLOW": "false", "COLLECTORS__TABLE": "0"}
    assert load_all(tmp_path, "", {}, environ).enabled() == expected
    assert loaded(tmp_path, COLLECTORS='{"flow": false, "table": false}').enabled() == expected


def test_without_defaults_only_what_is_switched_on_runs(tmp_path: Path) -> None:
    flags = {"disable_defaults": True, "collectors": {"table": True, "flow": True, "bond": False}}
    assert loaded(tmp_path, "", flags).enabled() == ("flow", "table")
    assert loaded(tmp_path, "disable_defaults: true").enabled() == ()


def test_collectors_on_request_run_when_they_are_switched_on_by_name(tmp_path: Path) -> None:
    enabled = loaded(tmp_path, "collectors: {address: true}").enabled()
    assert set(NAMES) - set(enabled) == set(ON_REQUEST) - {"address"}


def test_a_flag_switches_back_on_what_the_file_switched_off(tmp_path: Path) -> None:
    yaml = "collectors: {flow: false, table: false}"
    settings = loaded(tmp_path, yaml, {"collectors": {"flow": True}})
    assert "flow" in settings.enabled()
    assert "table" not in settings.enabled()


# Flows


RULES = [
    Rule(bridge="br-int", table=71, priority=65, cookie="0x10/0xf0", match="arp,*", interface="t*"),
    Rule(cookie=31),
]
"""Written in each form below."""


@pytest.mark.parametrize(
    ("yaml", "environ"),
    [
        (
            """
            flows:
              mode: selected
              select:
                - bridge: br-int
                  table: 71
                  priority: 65
                  cookie: 0x10/0xf0
                  match: arp,*
                  interface: t*
                - cookie: 0x1f
            """,
            {},
        ),
        (
            "flows: {select: [{table: 1}]}",
            {
                "FLOWS__MODE": "selected",
                "FLOWS__SELECT": """[{"bridge": "br-int", "table": 71, "priority": 65,
                "cookie": "0x10/0xf0", "match": "arp,*", "interface": "t*"}, {"cookie": "0x1f"}]""",
            },
        ),
        (
            "",
            {
                "FLOWS": """{"mode": "selected", "select": [{"bridge": "br-int", "table": "71",
                "priority": 65, "cookie": "16/240", "match": "arp,*", "interface": "t*"},
                {"cookie": 31}]}"""
            },
        ),
    ],
    ids=["yaml", "list in the environment", "section in the environment"],
)
def test_rules_name_flows_in_yaml_and_as_json_in_the_environment(
    tmp_path: Path, yaml: str, environ: Mapping[str, str]
) -> None:
    flows = load_all(tmp_path, yaml, {}, environ).flows
    assert flows.mode == "selected"
    assert flows.select == RULES
    assert flows.select[0].cookie == (0x10, 0xF0)
    assert flows.select[1].cookie == (0x1F, MAX_COOKIE)


def test_a_rule_changes_the_hash(tmp_path: Path) -> None:
    yaml = "flows: {select: [{table: %s}]}"
    hashes = {loaded(tmp_path, yaml % table).hash() for table in (1, 2)}
    assert len(hashes | {Settings().hash()}) == 3


@pytest.mark.parametrize("mode", ["off", "'off'", "auto", "selected", "all"])
def test_every_mode_may_be_written_as_it_is_called(tmp_path: Path, mode: str) -> None:
    assert loaded(tmp_path, f"flows: {{mode: {mode}}}").flows.mode == mode.strip("'")


def test_pacing_is_set_from_the_environment(tmp_path: Path) -> None:
    flows = loaded(
        tmp_path, "flows: {duty_cycle: 0.5}", FLOWS__DUTY_CYCLE="0.1", FLOWS__BUSY_ECHO_SECONDS="2"
    ).flows
    assert (flows.duty_cycle, flows.busy_echo_seconds) == (0.1, 2.0)
    assert (Settings().flows.duty_cycle, Settings().flows.busy_echo_seconds) == (0.02, 0.5)


@pytest.mark.parametrize(
    ("flows", "problem"),
    [
        (
            "select: [{}]",
            "select.0: gives none of bridge, table, priority, cookie, match, interface",
        ),
        ("select: [{table: null}]", "select.0: gives none of bridge"),
        ("select: [{table: 1}, {tabel: 1}]", "select.1.tabel: no such setting"),
        ("select: [{table: 255}]", "select.0.table: Input should be less than or equal to 254"),
        ("select: [{table: -1}]", "select.0.table: Input should be greater"),
        ("select: [{priority: 65536}]", "select.0.priority: Input should be less"),
        ("select: [{bridge: ''}]", "select.0.bridge: String should have at least 1"),
        ("select: [{interface: ''}]", "select.0.interface: String should have at least 1"),
        ("select: [{match: 1}]", "select.0.match: Input should be a valid string"),
        (f"select: [{{match: {'x' * 1001}}}]", "select.0.match: String should have at most 1000"),
        ("select: [{cookie: x}]", "select.0.cookie: not a number, or two with / between them"),
        ("select: {table: 1}", "select: Input should be a valid list"),
        (f"select: [{'{table: 1},' * 1001}]", "select: List should have at most 1000"),
        ("duty_cycle: 0", "duty_cycle: Input should be greater than 0"),
        ("duty_cycle: 1.1", "duty_cycle: Input should be less than or equal to 1"),
        ("duty_cycle: .nan", "duty_cycle: Input should be"),
        ("busy_echo_seconds: 0", "busy_echo_seconds: Input should be greater than 0"),
        ("mode: on", "mode: Input should be 'auto', 'selected', 'all' or 'off'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_rule_or_pace_is_told_with_its_path(tmp_path: Path, flows: str, problem: str) -> None:
    (found,) = problems(tmp_path, f"flows: {{{flows}}}")
    assert found.startswith(f"flows.{problem}")


@given(st.integers(0, MAX_COOKIE), st.integers(0, MAX_COOKIE))
def test_a_cookie_is_read_back_as_it_is_written(value: int, mask: int) -> None:
    for form in ("{}", "{:#x}", "{:#X}"):
        assert parse_cookie(form.format(value)) == (value, MAX_COOKIE)
        assert parse_cookie(f"{form}/{form}".format(value, mask)) == (value, mask)


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "1/", "/1", "1/2/3", "x", "0x", "-1", "1/-1", "True", "1.0", "[1, 2]"),
        *("18446744073709551616", "0x10000000000000000", "1/0x10000000000000000", "9" * 5000),
    ],
)
def test_anything_else_is_no_cookie(text: str) -> None:
    with pytest.raises(ValueError, match="not a number"):
        parse_cookie(text)


# Addresses


@pytest.mark.parametrize(
    ("address", "parsed"),
    [
        (":10978", (None, 10978)),
        (":0", (None, 0)),
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("localhost:65535", ("localhost", 65535)),
        ("[::1]:80", ("::1", 80)),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
        ("[::]:80", ("::", 80)),
    ],
)
def test_an_address_is_host_and_port(address: str, parsed: tuple[str | None, int]) -> None:
    assert parse_address(address) == parsed


@pytest.mark.parametrize(
    "address",
    [
        *("", ":", "80", "localhost", "localhost:", "localhost:http", ":-1", ":65536", ":8 0"),
        *("::1:80", "::1", "[::1]", "[::1]:", "[::1:80", "fe80::1%eth0:80", ":²"),
    ],
)
def test_anything_else_is_none(address: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT|stands in brackets"):
        parse_address(address)


# The hash


def test_the_hash_changes_with_a_setting_and_not_with_the_order_of_a_file(tmp_path: Path) -> None:
    one = loaded(tmp_path, "collectors: {flow: false, bond: false}\nlog: {level: debug}\n")
    two = loaded(tmp_path, "log: {level: debug}\ncollectors: {bond: false, flow: false}\n")
    assert one.hash() == two.hash() != Settings().hash()
    assert len(one.hash()) == 12
    assert int(one.hash(), 16) >= 0


def test_settings_do_not_change_once_loaded() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().disable_defaults = True  # type: ignore[misc]


def test_reading_the_configuration_opens_nothing_but_the_file(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    loaded(tmp_path, "web: {config_file: /nowhere/web.yaml}\novs: {rundir: /nowhere}\n")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ovs.db", "tcp:h:99999"),
        ("ovs.db", "ssl:h:6640"),
        ("ovs.db", "unix:" + "x" * 108),
        ("ovs.rundir", "/" + "x" * 90),
        ("ovs.rundir", "/run/\0"),
    ],
)
def test_an_address_that_no_socket_can_have_is_a_problem_before_anything_is_opened(
    path: str, value: str
) -> None:
    section, key = path.split(".")
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {section: {key: value}})
    assert [problem.split(":")[0] for problem in caught.value.problems] == [path]
