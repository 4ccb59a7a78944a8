"""What is known about the node: frozen dataclasses, units in names, ``None`` for not known."""
