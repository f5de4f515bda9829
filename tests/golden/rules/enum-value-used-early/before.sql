CREATE TYPE mood AS ENUM ('glad');
CREATE TABLE moods (mood mood);
