UPDATE accounts SET name = 'a', name = 'b' WHERE id = 1;
