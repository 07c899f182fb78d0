-- The choices of a tenant's filters, from current records. Companies are (id, name).
SELECT
    (SELECT groupArray(10000)((company_id, ifNull(name, company_id)))
     FROM companies_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')}))
        AS company,
    groupUniqArray(1000)(board_name) AS board,
    groupUniqArray(1000)(priority) AS priority,
    groupUniqArray(1000)(team_name) AS team,
    arrayDistinct(arrayConcat(
        groupUniqArray(1000)(owner_name),
        (SELECT groupUniqArray(1000)(member_name)
         FROM time_entries_as_of(
             tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})))) AS technician
FROM tickets_as_of(tenant_id = {tenant_id:String}, as_of = {as_of:DateTime64(3, 'UTC')})
