"""dataplane-agent: a compute node's virtual network as Prometheus metrics."""

__version__ = "0.1.0"
