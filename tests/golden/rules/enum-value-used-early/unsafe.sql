ALTER TYPE mood ADD VALUE 'calm';
INSERT INTO moods (mood) VALUES ('calm');
