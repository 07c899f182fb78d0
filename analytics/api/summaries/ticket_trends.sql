-- One row per local day of [first_day, end_day): tickets opened, tickets closed, and the mean hours
-- of those closed. A ticket is two events, each on its day in the tenant's time zone.
SELECT
    toDate(happened_at, {zone:String}) AS date,
    countIf(event = 'created') AS ticket_count,
    countIf(event = 'closed') AS closed_count,
    if(
        countIf(event = 'closed' AND actual_hours IS NOT NULL) = 0,
        NULL,
        CAST(
            round(
                toDecimal128(sumIf(actual_hours, event = 'closed'), 10)
                    / countIf(event = 'closed' AND actual_hours IS NOT NULL),
                2),
            'Decimal(38, 2)')) AS avg_hours
FROM tickets_as_of(
    tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
ARRAY JOIN
    [created_date, closed_date] AS happened_at,
    ['created', 'closed'] AS event
WHERE happened_at >= {starts_at:DateTime64(3, 'UTC')}
    AND happened_at < {ends_at:DateTime64(3, 'UTC')}
GROUP BY date
ORDER BY date WITH FILL FROM {first_day:Date} TO {end_day:Date}
