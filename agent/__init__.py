"""dataplane-agent: a compute node's virtual network as Prometheus metrics."""

import os

__version__ = "0.1.0"

# numpy brings a library for linear algebra, which nothing here uses and which starts a thread for
# each of the node's processors when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
