-- TO: posts, then one flush.  stomp_post.lua PORT DESTINATION COUNT SIZE RECEIPTS(0|1) IN_FLIGHT
-- Without receipts, an emit with one tells that the broker has taken all of them.

local MQ = require "MQ.stomp"
local now = require("MQ.core").now

local port, destination, count, size = tonumber(arg[1]), arg[2], tonumber(arg[3]), tonumber(arg[4])
local receipt, in_flight = arg[5] == "1", tonumber(arg[6])
local mq = MQ:new {
  host = "127.0.0.1", port = port, username = "guest", password = "guest", receipt = receipt, max_in_flight = in_flight,
  timeout = 120,
}
local payload = ("x"):rep(size)

-- Connects; without a receipt where none are wanted: from the first one on, RabbitMQ confirms every message.
assert(mq:emit(destination, payload))

local from, cpu_from = now(), os.clock()
for _ = 1, count do
  assert(mq:post(destination, payload))
end
assert(mq:emit(destination, payload, { receipt = true }))
assert(mq:flush(120))
print(("seconds %.9f\ncpu %.9f"):format(now() - from, os.clock() - cpu_from))
mq:close()
