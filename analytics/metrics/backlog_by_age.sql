-- Every ticket that is open at an instant, by the time since it was opened.
SELECT
    ticket_id AS key,
    at,
    dateDiff('millisecond', created_date, at) / 86400000 AS days,
    multiIf(
        days < 1, 'Under 1 day',
        days < 7, '1 to 7 days',
        days < 30, '7 to 30 days',
        days < 90, '30 to 90 days',
        days >= 90, '90 days and more',
        NULL) AS label,
    company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_open(tenant_id = {tenant_id:String}, instants = {instants:Array(DateTime64(3, 'UTC'))})
