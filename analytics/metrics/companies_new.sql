-- Every company, at its creation.
SELECT company_id AS key, created_at AS at, company_id
FROM companies_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
