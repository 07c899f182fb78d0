-- Hours of the time entries that are not billed, at the start of the work, by work type.
SELECT entry_id AS key, time_start AS at, actual_hours AS value, work_type_name AS label, company_id, member_name AS technician
FROM time_entries_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
WHERE NOT lower(ifNull(billable_option, '')) = 'billable'
