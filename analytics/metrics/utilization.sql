-- part: billable hours, whole: a day's capacity of each technician who worked on that day.
SELECT
    entry_id AS key,
    time_start AS at,
    toDecimal64(if(lower(ifNull(billable_option, '')) = 'billable', ifNull(actual_hours, 0), 0), 2) AS part,
    toDecimal64(0, 2) AS whole,
    member_name AS technician
FROM time_entries_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
UNION ALL
SELECT
    '' AS key,
    min(time_start) AS at,
    toDecimal64(0, 2) AS part,
    toDecimal64({capacity_hours:String}, 2) AS whole,
    member_name AS technician
FROM time_entries_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
WHERE time_start >= {first_at:DateTime64(3, 'UTC')}
    AND time_start < {last_at:DateTime64(3, 'UTC')}
GROUP BY member_id, member_name, toDate(time_start, {zone:String})
