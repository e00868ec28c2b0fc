-- M: resident memory of idle clients, each with one subscription.  memory.lua PORT CLIENTS

local MQ = require "MQ.redis"

local port, clients = tonumber(arg[1]), tonumber(arg[2])

local function resident_kib()
  collectgarbage()
  collectgarbage()
  for line in io.lines("/proc/self/status") do
    local kib = line:match("^VmRSS:%s+(%d+)")
    if kib then
      return tonumber(kib)
    end
  end
end

local function connected(i)
  local mq = MQ:new { host = "127.0.0.1", port = port }
  assert(mq:on("/bench/memory/" .. i, function() end))
  return mq
end

local all = { connected(0) } -- what the first one brings (the runtime thread) is not per client
local before = resident_kib()
for i = 1, clients do
  all[#all + 1] = connected(i)
end
print(("kib %.9g"):format((resident_kib() - before) / clients))
for _, mq in ipairs(all) do
  mq:close()
end
