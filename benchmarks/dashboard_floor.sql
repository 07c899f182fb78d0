-- The fewest reads that could answer the overview page: each table once, one statement for each source.

-- Events of tickets by local day, priority and company, with the ranks of their times.
SELECT what, day, priority, company_id, count() AS tickets,
       quantilesExact(0.5, 0.9)(milliseconds) AS ranks
FROM
(
    SELECT priority, company_id, event.1 AS what, toDate(event.2, {zone:String}) AS day,
           event.2 AS at, event.3 AS milliseconds, arrayJoin([
        ('opened', created_date, toInt64(0)),
        ('answered', first_response_date, dateDiff('millisecond', created_date, first_response_date)),
        ('closed', closed_date, dateDiff('millisecond', created_date, closed_date))]) AS event
    FROM shared_tickets
    WHERE tenant_id = {tenant_id:String}
      AND effective_date <= {as_of:DateTime64(3, 'UTC')} AND expiry_date > {as_of:DateTime64(3, 'UTC')}
      AND (created_date >= {first_at:DateTime64(3, 'UTC')}
           OR first_response_date >= {first_at:DateTime64(3, 'UTC')}
           OR closed_date >= {first_at:DateTime64(3, 'UTC')})
)
WHERE at >= {first_at:DateTime64(3, 'UTC')} AND at < {last_at:DateTime64(3, 'UTC')}
GROUP BY GROUPING SETS ((what, day), (what, priority), (what, company_id));

-- Open tickets at each instant, by priority.
SELECT at, priority, count() AS tickets
FROM shared_tickets
ARRAY JOIN arrayFilter(at -> effective_date <= at AND expiry_date > at,
                       {instants:Array(DateTime64(3, 'UTC'))}) AS at
WHERE tenant_id = {tenant_id:String} AND closed_date IS NULL
  AND expiry_date > arrayMin({instants:Array(DateTime64(3, 'UTC'))})
GROUP BY at, priority;

-- Time entries by local day.
SELECT toDate(time_start, {zone:String}) AS day, count() AS entries, sum(actual_hours) AS hours,
       sumIf(actual_hours, lower(ifNull(billable_option, '')) = 'billable') AS billable,
       uniqExact(member_id) AS people
FROM shared_time_entries
WHERE tenant_id = {tenant_id:String}
  AND effective_date <= {as_of:DateTime64(3, 'UTC')} AND expiry_date > {as_of:DateTime64(3, 'UTC')}
  AND time_start >= {first_at:DateTime64(3, 'UTC')} AND time_start < {last_at:DateTime64(3, 'UTC')}
GROUP BY day;

-- Companies at each instant.
SELECT at, countIf(is_active) AS active, count() AS companies
FROM shared_companies
ARRAY JOIN arrayFilter(at -> effective_date <= at AND expiry_date > at,
                       {instants:Array(DateTime64(3, 'UTC'))}) AS at
WHERE tenant_id = {tenant_id:String}
GROUP BY at;
