"""I/O: one file for each peer. Only here is anything read from outside of the process."""
