-- Leases a part of a counter that all workers share: never more than is left.
-- KEYS: 1 the counter, then those of former names, which count too; all of one slot.
-- ARGV: 1 the limit   2 how many are wanted   3 how many more at most, while much is left   4 unix ms when it may go
-- Answers: how many are granted, how many are taken in all (these among them).
local used = 0
for i = 1, #KEYS do used = used + tonumber(redis.call('GET', KEYS[i]) or '0') end
local left = tonumber(ARGV[1]) - used
local want = math.max(tonumber(ARGV[2]), math.min(tonumber(ARGV[3]), math.floor(left / 16)))
local granted = math.max(0, math.min(left, want))
if granted > 0 then
  redis.call('INCRBY', KEYS[1], granted)
  redis.call('PEXPIREAT', KEYS[1], ARGV[4])
end
return {granted, used + granted}
