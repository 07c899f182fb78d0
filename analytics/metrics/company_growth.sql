-- Companies valid at the end of each bucket. Each version is looked at once, for all buckets.
-- A version that expires after as_of was still open as of then.
WITH {bucket_ends:Array(DateTime64(3, 'UTC'))} AS bucket_ends
SELECT date, total_companies, active_companies
FROM
(
    SELECT
        arrayResize(sumForEach(valid), length(bucket_ends)) AS totals,
        arrayResize(sumForEachIf(valid, is_active), length(bucket_ends)) AS actives
    FROM
    (
        SELECT
            ifNull(is_active, false) AS is_active,
            arrayMap(
                at -> toUInt64(
                    effective_date < at
                    AND (expiry_date >= at OR expiry_date > {as_of:DateTime64(3, 'UTC')})),
                bucket_ends) AS valid
        FROM companies_history(tenant_id = {tenant_id:String})
        WHERE effective_date <= {as_of:DateTime64(3, 'UTC')}
    )
)
ARRAY JOIN
    {bucket_days:Array(Date)} AS date,
    totals AS total_companies,
    actives AS active_companies
ORDER BY date
