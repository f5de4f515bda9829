INSERT INTO accounts (id, email, name) VALUES (1, 'a', 'b');
