-- Companies with a version valid within [starts_at, ends_at), each with its last such version.
-- A version that expires after as_of was still open as of then.
SELECT
    total_companies,
    active_companies,
    if(known = 0, NULL, CAST(round(toDecimal128(employees, 10) / known, 2), 'Decimal(38, 2)'))
        AS avg_employees,
    total_revenue
FROM
(
    SELECT
        count() AS total_companies,
        countIf(is_active) AS active_companies,
        sum(number_of_employees) AS employees,
        count(number_of_employees) AS known,
        CAST(ifNull(sum(annual_revenue), 0), 'Decimal(38, 2)') AS total_revenue
    FROM
    (
        SELECT is_active, number_of_employees, annual_revenue
        FROM companies_history(tenant_id = {tenant_id:String})
        WHERE effective_date < {ends_at:DateTime64(3, 'UTC')}
            AND effective_date <= {as_of:DateTime64(3, 'UTC')}
            AND (expiry_date > {starts_at:DateTime64(3, 'UTC')}
                OR expiry_date > {as_of:DateTime64(3, 'UTC')})
        ORDER BY effective_date DESC
        LIMIT 1 BY company_id
    )
)
