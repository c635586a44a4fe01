-- How long a customer's messages are remembered: grows where rules look further back, and never shrinks, so that
-- rolling back and on again loses nothing. What was forgotten before it grew stays forgotten.
-- KEYS: 1 the note '<kept ms> <since ms>'
-- ARGV: 1 kept from now on, ms   2 kept where nothing was noted, ms   3 leeway for workers that follow a moment later, ms
-- Answers: kept, and since when all is remembered (0: always).
local note = redis.call('GET', KEYS[1])
local kept, since = tonumber(ARGV[2]), 0
if note then
  local a, b = string.match(note, '^(%d+) (%d+)$')
  kept, since = tonumber(a), tonumber(b)
end
local wanted = tonumber(ARGV[1])
if wanted > kept then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  since = math.max(since, now - kept + tonumber(ARGV[3]))
  kept = wanted
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', kept, since))
end
return {string.format('%.0f', kept), string.format('%.0f', since)}
