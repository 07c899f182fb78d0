-- Every ticket, at its opening, by type and subtype.
SELECT
    ticket_id AS key,
    created_date AS at,
    nullIf(arrayStringConcat(arrayFilter(name -> name != '',
        [ifNull(type_name, ''), ifNull(subtype_name, '')]), ' / '), '') AS label,
    company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
