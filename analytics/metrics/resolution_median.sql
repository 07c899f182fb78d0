-- Milliseconds from the opening to the closing, at the closing.
SELECT
    ticket_id AS key,
    closed_date AS at,
    dateDiff('millisecond', created_date, closed_date) AS value,
    company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_closed(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
WHERE created_date IS NOT NULL
