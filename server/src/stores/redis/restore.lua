-- Puts back one order that MySQL knows and Redis has lost. Nothing happens if it is there.
--
-- KEYS: 1 seckill:stock  2 seckill:user:USER  3 seckill:key:USER
-- ARGV: 1 EVENT:GOODS  2 key  3 id  4 what is stored for the key
if redis.call('HEXISTS', KEYS[3], ARGV[2]) == 1 then
  return 0
end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[4])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
redis.call('HINCRBY', KEYS[1], ARGV[1], -1)
return 1
