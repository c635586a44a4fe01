-- Moves what was learnt and the log offsets it was learnt from together, so each entry is folded exactly once.
-- KEYS: 1 hash bucket -> last log id folded   2 hash arm -> integer sums by name
--       3 version of the sums
-- ARGV: 1 number of buckets, then bucket, id expected ('' none), id now
--       then number of sums, then name, increment (integer)
-- Answers the version, or -1 where another learner moved an offset meanwhile: nothing was written.
local buckets = tonumber(ARGV[1])
local at = 2
for _ = 1, buckets do
  if (redis.call('HGET', KEYS[1], ARGV[at]) or '') ~= ARGV[at + 1] then return -1 end
  at = at + 3
end
at = 2
for _ = 1, buckets do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2])
  at = at + 3
end
local sums = tonumber(ARGV[at])
at = at + 1
for _ = 1, sums do
  local sum = redis.call('HINCRBY', KEYS[2], ARGV[at], ARGV[at + 1])
  -- a moment that is zero is left out, so that the fields follow from the sums
  if sum == 0 and string.byte(ARGV[at]) == 109 then redis.call('HDEL', KEYS[2], ARGV[at]) end
  at = at + 2
end
if sums > 0 then return redis.call('INCR', KEYS[3]) end
return tonumber(redis.call('GET', KEYS[3]) or '0')
