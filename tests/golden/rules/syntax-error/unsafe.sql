ALTER TABLE accounts ADD COLUM city text;
