-- Buys: decides, takes one from the stock, remembers the order for its key, and appends it to the stream,
-- all in one step. Whoever runs it twice with the same key gets the first order again.
--
-- KEYS: 1 seckill:instance  2 seckill:stock  3 seckill:orders  4 seckill:user:USER  5 seckill:key:USER
-- ARGV: 1 instance  2 EVENT:GOODS  3 key  4 closed  5 limit per user  6 most orders that may wait
--       7 id  8 user  9 event  10 goods  11 digest  12 process  13 created_at
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'unverified'}
end
local stored = redis.call('HGET', KEYS[5], ARGV[3])
if stored then
  return {'stored', stored}
end
if ARGV[4] == '1' then
  return {'closed'}
end
local limit = tonumber(ARGV[5])
if limit > 0 and tonumber(redis.call('HGET', KEYS[4], ARGV[2]) or 0) >= limit then
  return {'limit'}
end
local left = redis.call('HGET', KEYS[2], ARGV[2])
if not left then
  return {'unknown'}
end
if tonumber(left) <= 0 then
  return {'sold-out'}
end
if redis.call('XLEN', KEYS[3]) >= tonumber(ARGV[6]) then
  return {'full'}
end
-- A disk that is full refuses the first of them already, and then nothing has been done.
redis.call('XADD', KEYS[3], '*', 'id', ARGV[7], 'user', ARGV[8], 'event', ARGV[9], 'goods', ARGV[10],
  'key', ARGV[3], 'digest', ARGV[11], 'process', ARGV[12], 'created_at', ARGV[13])
redis.call('HINCRBY', KEYS[2], ARGV[2], -1)
redis.call('HINCRBY', KEYS[4], ARGV[2], 1)
redis.call('HSET', KEYS[4], ARGV[7], ARGV[3])
redis.call('HSET', KEYS[5], ARGV[3], table.concat(
  {ARGV[7], ARGV[11], ARGV[9], ARGV[10], ARGV[12], ARGV[13]}, ' '))
return {'placed'}
