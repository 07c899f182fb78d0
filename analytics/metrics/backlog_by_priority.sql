-- Every ticket that is open at an instant, by the priority it had then.
SELECT ticket_id AS key, at, priority AS label, company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_open(tenant_id = {tenant_id:String}, instants = {instants:Array(DateTime64(3, 'UTC'))})
