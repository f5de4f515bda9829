UPDATE accounts SET name = 'b' WHERE id = 1;
