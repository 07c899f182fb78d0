-- Every ticket, at its opening.
SELECT ticket_id AS key, created_date AS at, company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
