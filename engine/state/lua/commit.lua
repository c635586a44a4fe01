-- One customer's group: everything is written, or nothing. Times are ms of this server's clock.
-- KEYS: record, profile, log stream, generation, then the keys of spilled answers; all of one bucket.
-- ARGV: 1 record version as read ('' absent)   2 profile version as read   3 generation as known
--       4 not_after   5 most entries the stream may hold   6 'require' or 'best-effort' above that
--       7 record ('' leave)   8 its life, 0 for ever   9 profile ('' leave)   10 '1' deletes the profile
--       11 number of log entries, the entries, then bytes and life of each spilled answer
-- Answers: 'done <log id>', 'dropped' (done, but the entries were not logged), or why nothing was written.
-- That no answer exists for an event needs no check of its own: answers live in the record or were
-- spilled from it, so a new one moves the record's version.
if redis.call('GET', KEYS[4]) ~= ARGV[3] then return 'generation' end
local time = redis.call('TIME')
if time[1] * 1000 + math.floor(time[2] / 1000) > tonumber(ARGV[4]) then return 'late' end
if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 'moved' end
if redis.call('GETRANGE', KEYS[2], 0, 7) ~= ARGV[2] then return 'moved' end

local entries = tonumber(ARGV[11])
local result = 'done '
local logged = true
if entries > 0 and redis.call('XLEN', KEYS[3]) + entries > tonumber(ARGV[5]) then
  if ARGV[6] == 'require' then return 'log_full' end
  logged = false
  result = 'dropped'
end

-- The log goes first: where the server refuses writes (out of memory, no disk, a replica), it refuses
-- here, before anything was written; after the first write a script is let through to its end.
if logged then
  for i = 12, 11 + entries do
    result = 'done ' .. redis.call('XADD', KEYS[3], '*', 'd', ARGV[i])
  end
end
if ARGV[7] ~= '' then
  if ARGV[8] == '0' then
    redis.call('SET', KEYS[1], ARGV[7])
  else
    redis.call('SET', KEYS[1], ARGV[7], 'PX', ARGV[8])
  end
end
if ARGV[9] ~= '' then redis.call('SET', KEYS[2], ARGV[9]) end
local at = 12 + entries
for i = 5, #KEYS do
  redis.call('SET', KEYS[i], ARGV[at], 'PX', ARGV[at + 1])
  at = at + 2
end
if ARGV[10] == '1' then redis.call('DEL', KEYS[2]) end
return result
