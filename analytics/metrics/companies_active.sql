-- Every company that is marked active at an instant.
SELECT company_id AS key, at, company_id
FROM companies_at(tenant_id = {tenant_id:String}, instants = {instants:Array(DateTime64(3, 'UTC'))})
WHERE is_active
