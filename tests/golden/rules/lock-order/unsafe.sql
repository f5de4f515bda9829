ALTER TABLE accounts SET (fillfactor = 80);
ALTER TABLE orders SET (fillfactor = 80);
-- next file
ALTER TABLE orders SET (fillfactor = 90);
ALTER TABLE accounts SET (fillfactor = 90);
