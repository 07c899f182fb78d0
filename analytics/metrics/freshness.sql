-- For each table, the newest finished load, and the newest entry of any other kind.
SELECT table_name, load_id, kind, finished_at, newest_file, newest_file_time
FROM load_log_of(tenant_id = {tenant_id:String})
WHERE table_name IN {tables:Array(String)}
ORDER BY finished_at DESC, load_id DESC
LIMIT 1 BY table_name, kind IN ('repair', 'publishing')
