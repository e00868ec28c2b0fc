--- Which clients have asked for a subscription that is not confirmed yet, by the address of their broker: connections
-- of one process come up in any order, and what a new client publishes must not overtake the subscriptions of others.
-- Must not know: how a client waits, connections, messages.

local precedence = {}

local function others_ask(line, client)
  local one = next(line.clients)
  return one ~= nil and (one ~= client or next(line.clients, one) ~= nil)
end

--- Gives a dispatch `asking` and `let_pass`.
function precedence.attach(dispatch)
  -- Address → { client → how many of its subscriptions there wait for their confirmation }, and who waits for those.
  local asked = {}

  --- A client's subscription begins (true) or ends to wait for its confirmation.
  function dispatch.asking(client, begins)
    local line = asked[client.address]
    if not line then
      line = { clients = {}, records = {} }
      asked[client.address] = line
    end
    local count = (line.clients[client] or 0) + (begins and 1 or -1)
    line.clients[client] = count > 0 and count or nil
    if next(line.clients) == nil then
      asked[client.address] = nil
    end
    if count > 0 then
      return
    end
    local records = line.records
    line.records = {}
    for _, record in ipairs(records) do
      if others_ask(line, record.client) then
        table.insert(line.records, record)
      else
        dispatch.complete(record, true)
        dispatch.forget()
      end
    end
  end

  --- Waits until every subscription that other clients asked for at this client's address is confirmed or refused.
  function dispatch.let_pass(client)
    local line = asked[client.address]
    if line and others_ask(line, client) then
      local record = dispatch.expect()
      record.client = client
      table.insert(line.records, record)
      dispatch.await(record)
    end
  end
end

return precedence
