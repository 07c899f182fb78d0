-- part: active contacts, whole: active companies.
SELECT contact_id AS key, at, 1 AS part, 0 AS whole, company_id
FROM contacts_at(tenant_id = {tenant_id:String}, instants = {instants:Array(DateTime64(3, 'UTC'))})
WHERE is_active
UNION ALL
SELECT '' AS key, at, 0 AS part, 1 AS whole, company_id
FROM companies_at(tenant_id = {tenant_id:String}, instants = {instants:Array(DateTime64(3, 'UTC'))})
WHERE is_active
