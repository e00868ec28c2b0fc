-- The embedded broker as a process, for the broker's benches: prints "port NAME NUMBER" for each protocol, serves until
-- it is ended.

local MQ = require "MQ.broker"

io.stdout:setvbuf("line")
-- The brokers beside it have no bound either: what is measured is speed.
local broker = assert(MQ:new { redis = 0, mqtt = 0, stomp = 0, max_queue_bytes = 2 ^ 31 })
for name, port in pairs(broker:ports()) do
  print(("port %s %d"):format(name, port))
end
print("ready")
broker:start()
