-- Annual revenue of every company that is marked active at an instant, by its type then.
SELECT company_id AS key, at, annual_revenue AS value, company_type AS label, company_id
FROM companies_at(tenant_id = {tenant_id:String}, instants = {instants:Array(DateTime64(3, 'UTC'))})
WHERE is_active
