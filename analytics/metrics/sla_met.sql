-- part: tickets that met both targets, whole: closed tickets whose priority has targets. Targets are
-- in milliseconds.
SELECT
    ticket_id AS key,
    closed_date AS at,
    indexOf({sla_priorities:Array(String)}, ifNull(priority, '')) AS target,
    ifNull(first_response_date, closed_date) AS responded,
    dateDiff('millisecond', created_date, responded)
            <= arrayElement({sla_response:Array(Int64)}, target)
        AND dateDiff('millisecond', created_date, closed_date)
            <= arrayElement({sla_resolution:Array(Int64)}, target) AS part,
    1 AS whole,
    company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_closed(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
WHERE target > 0 AND created_date IS NOT NULL
