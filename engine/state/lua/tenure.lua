-- Who archives a store's log: takes the lease or renews it, for the archive that belongs to the store and no other.
-- KEYS: 1 the lease '<keeper> <where>'   2 hash of the store's archive: id, run, where, at_s (unix seconds)
-- ARGV: 1 the keeper   2 where it archives   3 lease, ms   4 its archive's id, '' for none yet   5 the last run there
--       6 '1': the log is about to be trimmed for this archive, which is the store's from now on
-- Answers: 'mine'; or 'held' and where; or 'another' and id, run, where of the archive that belongs to the store.
local lease = redis.call('GET', KEYS[1])
if lease and string.sub(lease, 1, #ARGV[1]) ~= ARGV[1] then
  return {'held', string.sub(lease, #ARGV[1] + 2)}
end
local known = redis.call('HMGET', KEYS[2], 'id', 'run', 'where')
if known[1] and (known[1] ~= ARGV[4] or tonumber(known[2]) > tonumber(ARGV[5])) then
  redis.call('DEL', KEYS[1])
  return {'another', known[1], known[2], known[3]}
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
if ARGV[6] == '1' then
  redis.call('HSET', KEYS[2], 'id', ARGV[4], 'run', ARGV[5], 'where', ARGV[2], 'at_s', redis.call('TIME')[1])
end
return {'mine'}
