-- Versions without a closing date right after a version with one.
SELECT ticket_id AS key, effective_date AS at, company_id, board_name, priority, team_name, owner_name AS technician
FROM tickets_history(tenant_id = {tenant_id:String})
WHERE closed_date IS NULL
    AND effective_date <= {as_of:DateTime64(3, 'UTC')}
    AND effective_date >= {first_at:DateTime64(3, 'UTC')}
    AND effective_date < {last_at:DateTime64(3, 'UTC')}
    AND (ticket_id, effective_date) IN (
        SELECT ticket_id, expiry_date
        FROM tickets_history(tenant_id = {tenant_id:String})
        WHERE closed_date IS NOT NULL
            AND expiry_date >= {first_at:DateTime64(3, 'UTC')}
            AND expiry_date < {last_at:DateTime64(3, 'UTC')})
