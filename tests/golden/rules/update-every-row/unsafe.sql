UPDATE accounts SET name = lower(name);
