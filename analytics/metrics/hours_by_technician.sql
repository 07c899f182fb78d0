-- Hours of every time entry, at the start of the work, by technician.
SELECT entry_id AS key, time_start AS at, actual_hours AS value, member_name AS label, company_id, member_name AS technician
FROM time_entries_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
