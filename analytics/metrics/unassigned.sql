-- Every ticket that is open at an instant without an owner at that time.
SELECT ticket_id AS key, at, company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_open(tenant_id = {tenant_id:String}, instants = {instants:Array(DateTime64(3, 'UTC'))})
WHERE ifNull(owner_id, '') = '' AND ifNull(owner_name, '') = ''
