-- Keeps a rule set and makes it the active one: all of it, or nothing. Times are ms of this server's clock.
-- KEYS: 1 control hash   2 list of what was active, newest first   3 hash revision -> '<deployed at> <metadata>'
--       4 hash revision -> activated at   5 the files of the revision
-- ARGV: 1 'stage', 'deploy', 'activate' or 'rollback'   2 revision   3 revision expected to be active ('' any)
--       4 the files, compressed   5 metadata   6 hash of the directory it came from ('' leave)
-- Answers: 'done', 'conflict <active revision>' or 'unknown' (no such files).
local active = redis.call('HGET', KEYS[1], 'active') or ''
local mode, revision = ARGV[1], ARGV[2]
if ARGV[3] ~= '' and ARGV[3] ~= active then return 'conflict ' .. active end
if mode == 'rollback' and redis.call('LINDEX', KEYS[2], 1) ~= revision then return 'conflict ' .. active end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if mode == 'stage' or mode == 'deploy' then
  redis.call('SET', KEYS[5], ARGV[4])
  redis.call('HSET', KEYS[3], revision, string.format('%.0f ', now) .. ARGV[5])
elseif redis.call('EXISTS', KEYS[5]) == 0 then
  return 'unknown'
end
if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'directory', ARGV[6]) end
if mode == 'stage' or revision == active then return 'done' end
if mode == 'rollback' then
  redis.call('LPOP', KEYS[2])
else
  redis.call('LPUSH', KEYS[2], revision)
  redis.call('LTRIM', KEYS[2], 0, 99)
end
-- Activations within one millisecond keep their order.
local at = math.max(now, (tonumber(redis.call('HGET', KEYS[1], 'activated_at') or '0')) + 1)
redis.call('HSET', KEYS[1], 'active', revision, 'activated_at', string.format('%.0f', at))
redis.call('HSET', KEYS[4], revision, string.format('%.0f', at))
return 'done'
