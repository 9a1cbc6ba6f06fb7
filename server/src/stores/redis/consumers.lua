-- Takes consumers out of the group that are gone and have nothing left to write. Whether they have is looked
-- at here, because a consumer that is deleted takes what was delivered to it out of everybody's sight.
--
-- KEYS: 1 the stream  ARGV: 1 the group  2 idle ms from which on one is gone  3 who asks
local deleted = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local is = {}
  for index = 1, #consumer, 2 do
    is[consumer[index]] = consumer[index + 1]
  end
  local gone = is['idle'] >= tonumber(ARGV[2]) and is['name'] ~= ARGV[3]
  if is['pending'] == 0 and gone then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], is['name'])
    deleted = deleted + 1
  end
end
return deleted
