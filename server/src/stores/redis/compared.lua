-- Lets Redis be sold from: it was compared with MySQL. If that the comparison was begun is not there any more, Redis
-- was emptied meanwhile, or somebody else was done with it before; then nothing happens.
--
-- KEYS: 1 seckill:instance  2 seckill:comparing  ARGV: 1 instance  2 epoch
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
