-- Hours spent on the tickets closed, among those whose hours are known.
SELECT ticket_id AS key, closed_date AS at, actual_hours AS part, 1 AS whole, company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_closed(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
WHERE actual_hours IS NOT NULL
