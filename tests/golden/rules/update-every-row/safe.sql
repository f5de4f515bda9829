UPDATE accounts SET name = lower(name) WHERE id BETWEEN 1 AND 1000;
