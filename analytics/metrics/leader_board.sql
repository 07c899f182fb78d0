-- Every ticket that is closed, at its closing, by who owned it then.
SELECT ticket_id AS key, closed_date AS at, owner_name AS label, company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_closed(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
