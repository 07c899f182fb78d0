-- Milliseconds from the opening to the first response, at the response.
SELECT
    ticket_id AS key,
    first_response_date AS at,
    dateDiff('millisecond', created_date, first_response_date) AS value,
    company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
WHERE created_date IS NOT NULL AND first_response_date IS NOT NULL
