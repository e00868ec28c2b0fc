-- A plain script, no coroutine, no event loop: every call simply waits for its answer.
local MQ = require "MQ.redis"

local mq = MQ:new { host = "localhost", port = os.getenv("MQ_REDIS_PORT") or 6379, timeout = 5 }

local ok, receivers, code = mq:emit("/jobs", "resize image 17")
if not ok then                    -- then the second value is the reason
  io.stderr:write("not sent: ", receivers, " (", code, ")\n")
  os.exit(1)
end
print("sent; receivers: " .. receivers)

-- Thousands at once: post does not wait, flush tells how many failed.
for i = 1, 10000 do
  assert(mq:post("/jobs", "resize image " .. i))
end
local flushed, why, failed = mq:flush(10)
print(flushed and "all 10000 are with the broker" or ("%d failed: %s"):format(failed, why))

local stats = mq:stats()
print(("sent %d messages, %d bytes"):format(stats.sent, stats.bytes_out))
assert(mq:close())
assert(flushed and stats.sent == 10001)
