-- What an MQTT client says, as lines in the words of mosquitto's log, for specs that look there what has arrived at a
-- broker that writes no such log. proxy_main.lua gives it what it passes on. Must not know: sockets.

local function number(text, at)
  local high, low = text:byte(at, at + 1)
  return high * 256 + low
end

-- A text with its length before it -> it, and where what follows begins.
local function string_at(text, at)
  local length = number(text, at)
  return text:sub(at + 2, at + 1 + length), at + 2 + length
end

-- A variable byte integer -> it, and where what follows begins; nil where the text ends before it does.
local function variable(text, at)
  local value, unit = 0, 1
  repeat
    local byte = text:byte(at)
    if not byte then
      return nil
    end
    value, unit, at = value + byte % 128 * unit, unit * 128, at + 1
  until byte < 128
  return value, at
end

local function skip_properties(client, body, at)
  if client.level < 5 then
    return at
  end
  local length, after = variable(body, at)
  return after + length
end

local packets = {}

packets[1] = function(client, _, body, say)
  local _, at = string_at(body, 1)
  client.level = body:byte(at)
  local flags, keepalive = body:byte(at + 1), number(body, at + 2)
  client.id = string_at(body, skip_properties(client, body, at + 4))
  -- mosquitto calls version 3.1.1 "p2"
  say(("New client connected from 127.0.0.1:1 as %s (p%d, c%d, k%d)."):format(
    client.id, client.level == 4 and 2 or client.level, math.floor(flags / 2) % 2, keepalive))
end

packets[3] = function(client, flags, body, say)
  local topic = string_at(body, 1)
  say(("Received PUBLISH from %s (d%d, q%d, r%d, '%s')"):format(
    client.id, math.floor(flags / 8), math.floor(flags / 2) % 4, flags % 2, topic))
end

packets[4] = function(client, _, body, say)
  say(("Received PUBACK from %s (Mid: %d, RC:%d)"):format(client.id, number(body, 1), body:byte(3) or 0))
end

packets[8] = function(client, _, body, say)
  say("Received SUBSCRIBE from " .. client.id)
  local at = skip_properties(client, body, 3)
  while at <= #body do
    local filter, after = string_at(body, at)
    local qos = body:byte(after) % 4
    say(("\t%s (QoS %d)"):format(filter, qos))
    say(("%s %d %s"):format(client.id, qos, filter))
    at = after + 1
  end
end

packets[10] = function(client, _, body, say)
  say("Received UNSUBSCRIBE from " .. client.id)
  local at = skip_properties(client, body, 3)
  while at <= #body do
    local filter, after = string_at(body, at)
    say("\t" .. filter)
    at = after
  end
end

packets[14] = function(client, _, _, say)
  say("Received DISCONNECT from " .. client.id)
end

-- say(line) is called for each -> a function that makes, for a connection, one that takes what its client sends.
return function(say)
  return function()
    local client, input = {}, ""
    return function(data)
      input = input .. data
      while #input >= 2 do
        local length, body = variable(input, 2)
        if not length or #input < body + length - 1 then
          return
        end
        local first = input:byte()
        local packet = packets[math.floor(first / 16)]
        if packet then
          packet(client, first % 16, input:sub(body, body + length - 1), say)
        end
        input = input:sub(body + length)
      end
    end
  end
end
