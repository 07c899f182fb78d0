-- Hours of the time entries that begin outside the tenant's business hours.
SELECT
    entry_id AS key,
    time_start AS at,
    actual_hours AS value,
    toHour(time_start, {zone:String}) * 60 + toMinute(time_start, {zone:String}) AS minute,
    company_id,
    member_name AS technician
FROM time_entries_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
WHERE toDayOfWeek(time_start, 0, {zone:String}) > 5
    OR minute < {opens_minute:UInt16}
    OR minute >= {closes_minute:UInt16}
