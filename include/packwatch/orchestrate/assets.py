"""The assets, in the order data flows. Declared once, so that no two share a URI."""

from __future__ import annotations

from airflow.sdk import Asset

HEALTH_REPORTS = Asset(name="battery_health_reports", uri="packwatch://warehouse/battery_health_reports")
WEEKLY_REPORT = Asset(name="battery_weekly_report", uri="packwatch://lake/published/weekly")
