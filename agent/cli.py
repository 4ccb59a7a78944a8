"""The command line: run, once, check and metrics, with Prometheus-style flags."""

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
from agent.exposition.connections import ListenError
from agent.exposition.web_config import WebConfigError
from agent.once import once

GOOD, DEGRADED, UNUSABLE = 0, 1, 2
COMMANDS = {
    "run": "serve metrics (the default)",
    "once": "print one exposition to standard output",
    "check": "validate the configuration and say for every source whether it can be reached",
    "metrics": "list everything that can be emitted",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit status: 0 good, 1 degraded or failed, 2 configuration.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "metrics":
        print(catalogue.FORMATS[options.format or "markdown"](catalogue.families()))
        return GOOD
    if options.format:
        parser.error("--format belongs to metrics")
    try:
        settings = config.from_process(options.config_file, _flags(options))
        # check says all that the log would say, and how to mend it.
        level = "error" if options.command == "check" else settings.log.level
        log.configure(level, settings.log.format)
        return _execute(options.command, settings)
    except (config.ConfigError, WebConfigError) as error:
        for problem in error.problems:
            print(f"configuration: {problem}", file=sys.stderr)
        return UNUSABLE


def _execute(command: str, settings: config.Settings) -> int:
    if command == "once":
        sys.stdout.write(asyncio.run(once(settings)))
        return GOOD
    if command == "check":
        return asyncio.run(check(settings))
    try:
        asyncio.run(run(settings))
    except ListenError as error:
        log.get(__name__).error("cannot start", detail=str(error))
        return DEGRADED
    return GOOD


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


FLAGS = {
    "--ovs.rundir": ("ovs", "rundir"),
    "--ovs.db": ("ovs", "db"),
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
