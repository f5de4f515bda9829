CREATE TYPE pair_2 AS (a int, b int, c int);
