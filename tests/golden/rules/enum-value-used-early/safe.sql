ALTER TYPE mood ADD VALUE 'calm';
-- next file
INSERT INTO moods (mood) VALUES ('calm');
