--- What the subscribers of the benches share: a callback that counts messages, and measures from the first to the last.
-- Must not know: protocols.

local now = require("MQ.core").now

--- Subscribes `mq`, says "ready", prints the numbers once `count` messages have come, and closes it.
return function(mq, pattern, count, options)
  local seen, bytes, from, cpu_from = 0, 0, nil, nil
  assert(mq:on(pattern, function(msg)
    if not msg then
      error("connection lost")
    end
    if seen == 0 then
      from = now()
    end
    seen = seen + 1
    bytes = bytes + #msg.payload
    if seen == count then
      -- os.clock counts every thread of the process
      print(("seconds %.9f\ncpu %.9f\nbytes %d"):format(now() - from, os.clock() - cpu_from, bytes))
      mq:close()
    end
  end, options))
  print("ready")
  io.stdout:flush()
  cpu_from = os.clock()
end
