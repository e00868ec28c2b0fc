-- A private RabbitMQ as a process of its own, for tools that are no spec: `lua rabbitmq_main.lua` prints its STOMP port
-- and its directory, and ends it, with all that it has written, when stdin ends.

local helper = require "spec.helper"

local broker = helper.rabbitmq()
io.stdout:write(broker.stomp_port, " ", broker.dir, "\n")
io.stdout:flush()
io.stdin:read("*a")
helper.stop_all()
