UPDATE alerts
SET
    notified_severity = greatest(alerts.notified_severity, sent.severity),
    notified_at = now()
FROM unnest(%(ids)s::UUID[], %(severities)s::SMALLINT[]) AS sent (id, severity)
WHERE alerts.id = sent.id;
