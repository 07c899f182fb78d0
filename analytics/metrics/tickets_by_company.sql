-- Every ticket, at its opening, by its company's name.
SELECT
    ticket_id AS key,
    created_date AS at,
    ifNull(companies.name, company_name) AS label,
    company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')}) AS tickets
LEFT JOIN (
    SELECT company_id AS id, toNullable(name) AS name
    FROM companies_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
) AS companies ON companies.id = tickets.company_id
