-- Hours of every time entry, at the start of the work, by the present name of its company.
SELECT
    entry_id AS key,
    time_start AS at,
    actual_hours AS value,
    ifNull(companies.name, company_name) AS label,
    company_id,
    member_name AS technician
FROM time_entries_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')}) AS entries
LEFT JOIN (
    SELECT company_id AS id, toNullable(name) AS name
    FROM companies_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
) AS companies ON companies.id = entries.company_id
