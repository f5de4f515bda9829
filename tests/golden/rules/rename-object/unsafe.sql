SET lock_timeout = '2s';
ALTER VIEW active RENAME TO active_accounts;
