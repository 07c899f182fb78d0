-- part: tickets closed, whole: tickets opened.
SELECT ticket_id AS key, created_date AS at, 0 AS part, 1 AS whole, company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
UNION ALL
SELECT ticket_id AS key, closed_date AS at, 1 AS part, 0 AS whole, company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_closed(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
