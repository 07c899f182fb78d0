-- Ends of active versions without an active version right after.
SELECT company_id AS key, expiry_date AS at, company_id
FROM companies_history(tenant_id = {tenant_id:String})
WHERE is_active
    AND expiry_date <= {as_of:DateTime64(3, 'UTC')}
    AND (company_id, expiry_date) NOT IN (
        SELECT company_id, effective_date
        FROM companies_history(tenant_id = {tenant_id:String})
        WHERE is_active)
