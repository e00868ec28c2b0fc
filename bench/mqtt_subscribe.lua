-- MI: a callback that counts the messages of one filter.  mqtt_subscribe.lua PORT FILTER COUNT QOS [identified]
-- The C program subscribes without an identifier; so does this one, unless it is told otherwise.

local MQ = require "MQ.mqtt"
local count_arrivals = require "bench.arrivals"

local port, filter, count, qos = tonumber(arg[1]), arg[2], tonumber(arg[3]), tonumber(arg[4])
local mq = MQ:new {
  host = "127.0.0.1", port = port, receive_maximum = 65535, subscription_identifiers = arg[5] == "identified",
}
count_arrivals(mq, filter, count, { qos = qos })
mq:start()
