-- Milliseconds from the end of the work to its entry, at the entry.
SELECT
    entry_id AS key,
    date_entered AS at,
    dateDiff('millisecond', time_end, date_entered) AS value,
    company_id, member_name AS technician
FROM time_entries_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
WHERE time_end IS NOT NULL AND date_entered IS NOT NULL
