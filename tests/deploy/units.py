"""The unit and its drop-ins, laid out as an installation has them."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = "dataplane-agent.service"
PROGRAM = Path("/opt/dataplane-agent/bin/dataplane-agent")
SYSTEM = Path("etc/systemd/system")


def install(root: Path, *drop_ins: str) -> Path:
    """Put the unit, drop-ins by name, and a program to start below a root; return the root."""
    units = root / SYSTEM
    (units / f"{UNIT}.d").mkdir(parents=True)
    (units / UNIT).write_bytes((DEPLOY / UNIT).read_bytes())
    for name in drop_ins:
        (units / f"{UNIT}.d" / f"{name}.conf").write_bytes((DEPLOY / f"{name}.conf").read_bytes())
    program = root / PROGRAM.relative_to("/")
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    # systemd's own targets, and the units of others that may be named
    theirs = Path("usr/lib/systemd/system")
    shutil.copytree("/" / theirs, root / theirs, symlinks=True)
    return root


def analyze(root: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run systemd-analyze on what is below a root; nothing of the machine's is looked at."""
    return subprocess.run(
        ["systemd-analyze", "--no-pager", "--man=no", f"--root={root}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def security(root: Path, threshold: float) -> "subprocess.CompletedProcess[str]":
    """Rate the unit; the exit code is not 0 above the threshold, of 0 (good) to 10."""
    return analyze(root, "security", "--offline=true", f"--threshold={round(10 * threshold)}", UNIT)


def open_doors(root: Path) -> list[str]:
    """Return the settings that systemd-analyze has something to say against."""
    shown = analyze(root, "security", "--offline=true", "--json=short", UNIT)
    rows: list[dict[str, Any]] = json.loads(shown.stdout)
    return [row["name"] for row in rows if row["exposure"]]
