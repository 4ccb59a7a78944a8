"""The command line: run, once, check, drops and metrics, with Prometheus-style flags."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent import __version__, catalogue, config, log
from agent.check import check
from agent.collectors import NAMES
from agent.daemon import run
from agent.drops.command import DEFAULT_SECONDS, MAX_SECONDS, MIN_SECONDS, Question, drops
from agent.events_side import require_library
from agent.exposition.connections import ListenError
from agent.exposition.web_config import WebConfigError
from agent.once import once

GOOD, DEGRADED, UNUSABLE = 0, 1, 2
COMMANDS = {
    "run": "serve metrics (the default)",
    "once": "print one exposition to standard output",
    "check": "validate the configuration and say for every source whether it can be reached",
    "drops": "watch the flows for a while and print which of them lost packets, and whose",
    "metrics": "list everything that can be emitted",
}
QUIET = {"check", "drops"}
"""They say all that the log would say, and how to mend it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 good, 1 degraded or failed, 2 configuration.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    for name in OF_DROPS if options.command != "drops" else ():
        if getattr(options, name) not in (None, False):
            parser.error(f"--{name.replace('_', '-')} belongs to drops")
    if options.command == "metrics":
        print(catalogue.FORMATS[options.format or "markdown"](catalogue.families()))
        return GOOD
    if options.format:
        parser.error("--format belongs to metrics")
    try:
        settings = config.from_process(options.config_file, _flags(options))
        require_library(settings)
        level = "error" if options.command in QUIET else settings.log.level
        log.configure(level, settings.log.format)
        return _execute(options, settings)
    except (config.ConfigError, WebConfigError) as error:
        for problem in error.problems:
            print(f"configuration: {problem}", file=sys.stderr)
        return UNUSABLE


def _execute(options: argparse.Namespace, settings: config.Settings) -> int:
    command = options.command
    if command == "once":
        sys.stdout.write(asyncio.run(once(settings)))
        return GOOD
    if command == "check":
        return asyncio.run(check(settings))
    if command == "drops":
        return _drops(options, settings)
    try:
        asyncio.run(run(settings))
    except ListenError as error:
        log.get(__name__).error("cannot start", detail=str(error))
        return DEGRADED
    return GOOD


def _drops(options: argparse.Namespace, settings: config.Settings) -> int:
    question = Question(
        options.bridge,
        options.interface,
        options.instance,
        options.seconds or DEFAULT_SECONDS,
        options.all_kinds,
        options.json,
    )
    try:
        return asyncio.run(drops(settings, question))
    except KeyboardInterrupt:
        print("interrupted before there were two readings to compare", file=sys.stderr)
        return DEGRADED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dataplane-agent",
        description="A compute node's virtual network as Prometheus metrics.",
        epilog="Commands: " + "; ".join(f"{name}: {text}" for name, text in COMMANDS.items()),
        allow_abbrev=False,
    )
    parser.add_argument("command", nargs="?", default="run", choices=COMMANDS, metavar="COMMAND")
    parser.add_argument("--version", action="version", version=f"dataplane-agent {__version__}")
    parser.add_argument("--format", choices=catalogue.FORMATS, help="form of the metrics list")
    _add_options_of_drops(parser.add_argument_group("options of drops"))
    parser.add_argument("--config.file", dest="config_file", type=Path, help="YAML settings")
    for flag, (section, key) in FLAGS.items():
        parser.add_argument(
            flag,
            dest=f"{section}.{key}",
            action="append" if key == "listen_address" else "store",
            help=config.describe(section, key),
        )
    parser.add_argument(
        "--collector.disable-defaults",
        dest="disable_defaults",
        action="store_true",
        help="run only the collectors that are switched on by name",
    )
    for name in NAMES:
        for flag, value in ((f"--collector.{name}", True), (f"--no-collector.{name}", False)):
            parser.add_argument(
                flag,
                dest=f"collectors.{name}",
                action="store_const",
                const=value,
                help=f"switch the collector {name} {'on' if value else 'off'}",
            )
    return parser


OF_DROPS = ("bridge", "interface", "instance", "seconds", "all_kinds", "json")


def _add_options_of_drops(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--bridge", metavar="NAME", help="watch only this bridge")
    group.add_argument(
        "--interface", metavar="ID", help="only flows of this interface: name, Neutron port or MAC"
    )
    group.add_argument(
        "--instance", metavar="ID", help="only flows of this instance: id, name or libvirt domain"
    )
    group.add_argument(
        "--seconds",
        type=_seconds,
        metavar="N",
        help=f"time between the two readings, {MIN_SECONDS:g} to {MAX_SECONDS:g}, "
        f"default {DEFAULT_SECONDS:g}; Ctrl-C ends it early",
    )
    group.add_argument(
        "--all-kinds",
        action="store_true",
        help="also flows that drop copies of what was delivered, or what came by a patch port",
    )
    group.add_argument("--json", action="store_true", help="print one JSON object")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not MIN_SECONDS <= seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not {MIN_SECONDS:g} to {MAX_SECONDS:g}")
    return seconds


FLAGS = {
    "--ovs.rundir": ("ovs", "rundir"),
    "--ovs.db": ("ovs", "db"),
    "--libvirt.uri": ("libvirt", "uri"),
    "--web.listen-address": ("web", "listen_address"),
    "--web.config.file": ("web", "config_file"),
    "--web.telemetry-path": ("web", "telemetry_path"),
    "--web.max-requests": ("web", "max_requests"),
    "--log.level": ("log", "level"),
    "--log.format": ("log", "format"),
}


def _flags(options: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that were given, nested like the settings."""
    nested: dict[str, Any] = {}
    for path, value in vars(options).items():
        section, dot, key = path.partition(".")
        if dot and value is not None:
            nested.setdefault(section, {})[key] = value
    if options.disable_defaults:
        nested["disable_defaults"] = True
    return nested


if __name__ == "__main__":
    sys.exit(main())
