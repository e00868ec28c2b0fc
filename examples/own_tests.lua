-- An app's own tests, on a broker of their own: no server to install, no port to agree on, nothing left behind.
local MQ = require "MQ"

-- The app: answers each order with its price. It does not know which broker it talks to.
local function shop(mq)
  assert(mq:on("orders/+", function(order)
    if order then
      assert(mq:post("prices/" .. order.topic:match "[^/]+$", tostring(#order.payload * 10)))
    end
  end))
end

local tests = {}

function tests.an_order_gets_its_price(app, customer)
  shop(app)
  local price
  assert(customer:on("prices/7", function(msg) price = price or msg and msg.payload end))
  assert(customer:emit("orders/7", "tea"))
  for _ = 1, 5000 do                                    -- five seconds at the most
    if price then break end
    MQ.loop.sleep(0.001)
  end
  assert(price == "30", price or "no price came")
end

function tests.nobody_hears_an_order_without_the_shop(_, customer)
  local _, reason = assert(customer:emit("orders/7", "tea"))
  assert(reason == 16, reason)                          -- MQTT 5: "no matching subscribers"
end

for name, test in pairs(tests) do
  local broker = assert(MQ.broker:new { mqtt = 0 })     -- a new one for each test, on any port that is free
  local options = { host = "127.0.0.1", port = broker:ports().mqtt }
  local app, customer = MQ.mqtt:new(options), MQ.mqtt:new(options)
  test(app, customer)
  app:close() customer:close() broker:close()
  print("ok   " .. name)
end
