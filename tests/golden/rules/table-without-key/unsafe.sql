CREATE TABLE cities (name text);
