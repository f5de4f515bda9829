CREATE TABLE moods (mood text PRIMARY KEY);
