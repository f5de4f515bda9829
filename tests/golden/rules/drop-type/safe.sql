CREATE TYPE mood_2 AS (a int);
