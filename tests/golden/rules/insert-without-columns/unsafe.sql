INSERT INTO accounts VALUES (1, 'a', 'b');
