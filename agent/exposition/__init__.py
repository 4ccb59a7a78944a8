"""How what is known leaves the agent: Prometheus text over HTTP, events over MQTT."""
