-- Corrects what was learnt, while learners go on: sums move by differences, and everything at once.
-- KEYS: 1 hash bucket -> last log id folded   2 hash arm -> integer sums by name   3 version of the sums
--       4 number of corrections so far   5 hash name -> what was learnt elsewhere   6 log of a bucket
-- ARGV: corrections expected, name of what was learnt elsewhere ('' none), what it is ('' no more), its log entry
--       then number of buckets, then bucket, id expected ('' none), id now
--       then number of sums, then name, increment (integer), 1 where a sum of zero stays
-- Answers the version, or -1 where another correction or a learner was faster: nothing was written.
if (redis.call('GET', KEYS[4]) or '0') ~= ARGV[1] then return -1 end
local buckets = tonumber(ARGV[5])
local at = 6
for _ = 1, buckets do
  if (redis.call('HGET', KEYS[1], ARGV[at]) or '') ~= ARGV[at + 1] then return -1 end
  at = at + 3
end
at = 6
for _ = 1, buckets do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2])
  at = at + 3
end
if ARGV[2] ~= '' then
  redis.call('XADD', KEYS[6], '*', 'd', ARGV[4])
  if ARGV[3] == '' then redis.call('HDEL', KEYS[5], ARGV[2]) else redis.call('HSET', KEYS[5], ARGV[2], ARGV[3]) end
end
local sums = tonumber(ARGV[at])
at = at + 1
for _ = 1, sums do
  local sum = redis.call('HINCRBY', KEYS[2], ARGV[at], ARGV[at + 1])
  if sum == 0 and ARGV[at + 2] ~= '1' then redis.call('HDEL', KEYS[2], ARGV[at]) end
  at = at + 3
end
redis.call('INCR', KEYS[4])
return redis.call('INCR', KEYS[3])
