-- A transaction: an order becomes an invoice and a parcel, and is taken off its queue; all of it or nothing.
local MQ = require "MQ.stomp"
local loop = require("MQ").loop

local mq = MQ:new { host = "localhost", port = os.getenv("MQ_STOMP_PORT") or 61613 }
local seen, tries = { invoice = 0, parcel = 0 }, 0

for _, kind in ipairs { "invoice", "parcel" } do
  assert(mq:on("/queue/" .. kind .. "s", function(msg)
    if msg then
      seen[kind] = seen[kind] + 1
      print(kind .. " for " .. msg.payload)
    end
  end))
end

assert(mq:on("/queue/orders", function(order)
  local ok, err = pcall(mq.transaction, mq, function(tx)
    tries = tries + 1
    tx:emit("/queue/invoices", order.payload)
    assert(tries > 1, "the printer is out of paper")      -- the first order's first try
    tx:emit("/queue/parcels", order.payload)
    tx:ack(order)
  end)
  if not ok then
    print("nothing has happened: " .. err:match("[^\n]*"))
    order:nack()                                          -- it comes again
  end
end, { ack = "manual", prefetch = 1 }))

assert(mq:emit("/queue/orders", "Ada"))
assert(mq:emit("/queue/orders", "Grace"))
while seen.parcel < 2 or seen.invoice < 2 do
  loop.sleep(0.01)
end
assert(seen.invoice == 2 and tries == 3)
mq:close()
