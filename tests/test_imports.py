"""What importing the agent does to the process that imports it."""

import os
import subprocess
import sys

COUNT = "import agent.cli, os; print(len(os.listdir('/proc/self/task')))"


def test_importing_the_agent_starts_no_thread_for_each_processor() -> None:
    environment = {name: value for name, value in os.environ.items() if "BLAS" not in name}
    command = [sys.executable, "-c", COUNT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
