-- Acknowledges orders that are in MySQL, and takes them out of the stream. As a script, because in a transaction a
-- Redis that is full refuses even what frees memory.
--
-- KEYS: 1 the stream  ARGV: 1 the group  then ids
local group = table.remove(ARGV, 1)
redis.call('XACK', KEYS[1], group, unpack(ARGV))
redis.call('XDEL', KEYS[1], unpack(ARGV))
return #ARGV
