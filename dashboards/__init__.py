"""Dashboards of Grafana and rules of Prometheus, written from Python: ``make dashboards``."""
