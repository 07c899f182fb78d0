-- part: tickets closed on the local day they were opened, whole: tickets closed.
SELECT
    ticket_id AS key,
    closed_date AS at,
    toDate(created_date, {zone:String}) = toDate(closed_date, {zone:String}) AS part,
    1 AS whole,
    company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_closed(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
WHERE created_date IS NOT NULL
