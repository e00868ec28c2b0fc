-- What the stomp_*_spec files share: clients of STOMP that are closed after each spec; the rest is as for MQTT.

local helper = require "spec.helper"
local mqtt_tools = require "spec.mqtt_tools"
local MQ = require "MQ.stomp"

local tools = setmetatable({ MQ = MQ }, { __index = mqtt_tools })

--- All versions, for specs that hold in each: for _, version in ipairs(tools.versions) do …
tools.versions = { "1.2", "1.1", "1.0" }

--- A client of `target` (a broker, or anything with a port), closed after the spec.
function tools.client(target, options)
  local all = {
    host = "127.0.0.1", port = target and (target.stomp_port or target.port),
    username = target and target.user, password = target and target.password, reconnect = { min = 0.02, max = 0.2 },
  }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  return tools.keep(MQ:new(all))
end

--- A proxy in front of a broker's STOMP port, which knows its user.
function tools.proxy(server)
  local proxy = helper.proxy(server.stomp_port)
  proxy.user, proxy.password = server.user, server.password
  return proxy
end

--- A destination that no other spec of this run uses: tools.queue() -> "/queue/spec-1-2-3".
function tools.queue() return "/queue/" .. tools.unique() end

function tools.topic() return "/topic/" .. tools.unique() end

-- What a scripted peer's code may use besides `conn` (see support/peer_main.lua): frame() -> command, headers and body
-- of the next frame, which goes into the log; send(command, headers, body); accept(more headers), which reads CONNECT
-- and answers; receipt(headers), which answers where there is a receipt to answer.
local PEER = [[
  local function line()
    local text = ""
    while true do
      local byte = conn:read(1)
      if byte == "\n" then
        return text
      elseif byte ~= "\r" then
        text = text .. byte
      end
    end
  end
  function frame()
    local command
    repeat
      command = line()
    until command ~= ""
    local headers = {}
    local text = line()
    while text ~= "" do
      local name, value = text:match("^([^:]*):(.*)$")
      headers[name] = headers[name] or value
      text = line()
    end
    local body = ""
    if headers["content-length"] then
      body = conn:read(tonumber(headers["content-length"]))
      conn:read(1)
    else
      local byte = conn:read(1)
      while byte ~= "\0" do
        body, byte = body .. byte, conn:read(1)
      end
    end
    conn:log(command .. " " .. (headers.destination or headers.id or "") .. " " .. body)
    return command, headers, body
  end
  function send(command, headers, body)
    local lines = { command }
    for name, value in pairs(headers or {}) do
      lines[#lines + 1] = name .. ":" .. value
    end
    conn:send(table.concat(lines, "\n") .. "\n\n" .. (body or "") .. "\0")
  end
  function accept(headers)
    frame()
    local all = { version = "1.2" }
    for name, value in pairs(headers or {}) do
      all[name] = value
    end
    send("CONNECTED", all)
  end
  function receipt(headers)
    if headers.receipt then
      send("RECEIPT", { ["receipt-id"] = headers.receipt })
    end
  end
]]

--- helper.peer for STOMP.
function tools.peer(code, options)
  local peer = helper.peer(PEER:gsub("\n%s*", " ") .. code, options)
  peer.url = "stomp://127.0.0.1:" .. peer.port
  return peer
end

--- Has everything that was sent to a list before arrive: sends a mark to `destination` and waits until the list ends
-- with it, which it then loses again. What is not in the list now, was not delivered.
function tools.barrier(publisher, destination, list, seconds)
  local mark = tools.unique("mark")
  assert(publisher:emit(destination, mark))
  local function payload(entry)
    return type(entry) == "table" and entry.payload or entry
  end
  helper.eventually(function() return payload(list[#list]) == mark end, seconds or 5, "the mark arrives")
  table.remove(list)
  return list
end

--- What is left in a queue, by another client: -> payloads and whether each came again.
function tools.left_in(server, queue)
  local mq = tools.client(server)
  local list = tools.messages(mq, queue)
  tools.barrier(mq, queue, list)
  local payloads, again = {}, {}
  for index, message in ipairs(list) do
    payloads[index], again[index] = message.payload, message.headers.redelivered == "true"
  end
  mq:close()
  return payloads, again
end

return tools
