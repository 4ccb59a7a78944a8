"""What is set when the rules are written: the job, the window of rates, where runbooks are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything about the rules that differs between two sites.

    Attributes:
        job: Selector of the agent's jobs, one matcher: ``job="dataplane-agent"``, or
            ``job=~"dataplane-agent(-flows)?"`` where flows have a job of their own.
        window: Window of rates, at least four scrape intervals. Names of recording rules end in it.
        runbook_base: What stands before ``docs/runbooks/NAME.md`` in ``runbook_url``: the address
            of this repository's files, with a slash at its end.
        deadline_seconds: ``scrape.deadline_seconds`` of the agents, or Prometheus's timeout less a
            tenth where that is shorter.
        scrape_interval: At which migration.yaml copies names: that of the agents' scrapes.
    """

    job: str = 'job="dataplane-agent"'
    window: str = "5m"
    runbook_base: str = ""
    deadline_seconds: float = 8.0
    scrape_interval: str = "15s"

    def runbook(self, alert: str) -> str:
        """Return the address of an alert's runbook."""
        return f"{self.runbook_base}docs/runbooks/{alert}.md"
