CREATE TYPE mood AS ENUM ('glad');
