--- What may be written in MQ:new{…} and in a call's last argument, and what is wrong with what was written.
-- Must not know: sockets, the core, what an option does. It turns a user's table into the flat one that the core takes.

local plain = require("MQ.compat").plain

local options = {}

local huge = math.huge

------------------------------------------------------------------------------------------------------------ kinds

--- A value as an error message shows it.
local function quote(value)
  if type(value) == "string" then
    if #value > 40 then
      value = value:sub(1, 37) .. "..."
    end
    return '"' .. value:gsub('[%c"\\]', function(c) return ("\\%03d"):format(c:byte()) end) .. '"'
  elseif type(value) == "table" or type(value) == "function" or type(value) == "userdata" then
    return "a " .. type(value)
  elseif type(value) == "number" then
    return plain(value)
  end
  return tostring(value)
end

options.quote = quote

local function range(spec)
  if spec.max and spec.max < huge then
    return (" from %s to %s"):format(plain(spec.min), plain(spec.max))
  elseif spec.min then
    return (" of at least %s"):format(plain(spec.min))
  end
  return ""
end

local function in_range(spec, number)
  return number == number and number >= (spec.min or -huge) and number <= (spec.max or huge) and number < huge
end

-- Each kind says what it expects, and gives back the value as the core wants it, or nil.
local kinds = {}

-- `pattern`: what the whole string must look like; `form` says so in words.
kinds.string = {
  expected = function(spec) return spec.form or spec.empty and "a string" or "a string that is not empty" end,
  parse = function(spec, value)
    if type(value) == "string" and (spec.empty or value ~= "") and value:find(spec.pattern or "") then
      return value
    end
  end,
}

kinds.number = {
  expected = function(spec) return "a number" .. range(spec) end,
  parse = function(spec, value)
    if type(value) == "number" and in_range(spec, value) then
      return value
    end
  end,
}

kinds.integer = {
  expected = function(spec) return "an integer" .. range(spec) end,
  parse = function(spec, value)
    if spec.digits and type(value) == "string" and value:find("^%d+$") then
      value = tonumber(value)
    end
    if type(value) == "number" and in_range(spec, value) and value % 1 == 0 then
      return math.floor(value)   -- 6379.0 is an integer, too
    end
  end,
}

kinds.boolean = {
  expected = function() return "true or false" end,
  parse = function(_, value)
    if type(value) == "boolean" then
      return value
    end
  end,
}

kinds["function"] = {
  expected = function() return "a function" end,
  parse = function(_, value)
    if type(value) == "function" then
      return value
    end
  end,
}

kinds.choice = {
  expected = function(spec)
    local list = {}
    for index, each in ipairs(spec.choices) do
      list[index] = quote(each)
    end
    return "one of " .. table.concat(list, ", ")
  end,
  parse = function(spec, value)
    for _, each in ipairs(spec.choices) do
      if value == each then
        return value
      end
    end
  end,
}

kinds.strings = {
  expected = function(spec) return spec.form or "a list of strings, not empty" end,
  parse = function(spec, value)
    if type(value) ~= "table" or #value == 0 then
      return nil
    end
    local list = {}
    for index, each in ipairs(value) do
      if type(each) ~= "string" or each == "" or not each:find(spec.pattern or "") then
        return nil
      end
      list[index] = each
    end
    for key in pairs(value) do
      if list[key] == nil then
        return nil
      end
    end
    return list
  end,
}

-- A table whose members the core judges.
kinds.table = {
  expected = function() return "a table" end,
  parse = function(_, value)
    if type(value) == "table" then
      return value
    end
  end,
}

-- Names and strings; `names` and `values`: what each must look like. `scalars`: numbers and truth values stand for the
-- text that they print as. `reserved`: name → what to write in its place.
kinds.map = {
  expected = function(spec) return spec.form end,
  parse = function(spec, value)
    if type(value) ~= "table" then
      return nil
    end
    local map = {}
    for name, each in pairs(value) do
      if spec.scalars and (type(each) == "number" or type(each) == "boolean") then
        each = plain(each)
      end
      if type(name) ~= "string" or not name:find(spec.names) or type(each) ~= "string" or not each:find(spec.values)
      then
        return nil
      elseif spec.reserved and spec.reserved[name] then
        return nil, ("%s is none of yours to write; %s"):format(quote(name), spec.reserved[name])
      end
      map[name] = each
    end
    return map
  end,
}

-- Two numbers, one for both, or false for { 0, 0 }.
kinds.pair = {
  expected = function(spec) return ("false, a number%s, or a list of two"):format(range(spec)) end,
  parse = function(spec, value)
    local pair = value
    if value == false then
      pair = { 0, 0 }
    elseif type(value) == "number" then
      pair = { value, value }
    elseif type(value) ~= "table" or #value ~= 2 then
      return nil
    end
    for key, each in pairs(pair) do
      if (key ~= 1 and key ~= 2) or type(each) ~= "number" or not in_range(spec, each) then
        return nil
      end
    end
    return { pair[1], pair[2] }
  end,
}

-- true (unless `bare`) | false | a table of options of its own, whose values go into the flat table as NAME_OPTION.
kinds.group = {
  expected = function(spec)
    local names = {}
    for name in pairs(spec.members) do
      names[#names + 1] = name
    end
    table.sort(names)
    return (spec.bare and "false or {" or "true, false or {") .. table.concat(names, ", ") .. "}"
  end,
  parse = function(spec, value)
    if type(value) == "table" or value == false or (value == true and not spec.bare) then
      return value
    end
  end,
}

------------------------------------------------------------------------------------------------------- the options

--- The options that every protocol takes. `db`, `vhost` and `keepalive` mean something to one of them only; all take
-- them, so that one table serves three.
options.common = {
  host = { kind = "string", default = "localhost", example = 'host = "localhost"' },
  port = { kind = "integer", min = 1, max = 65535, digits = true, example = "port = 6379" },
  hosts = { kind = "strings", example = 'hosts = {"one:6379", "two:6379"}' },
  username = { kind = "string", empty = true, example = 'username = "…"' },
  password = { kind = "string", empty = true, secret = true, example = 'password = "…"' },
  auth = { kind = "string", empty = true, secret = true, example = 'auth = "…"' },
  db = { kind = "integer", min = 0, max = 2147483647, digits = true, example = "db = 0" },
  vhost = { kind = "string", example = 'vhost = "/"' },
  keepalive = { kind = "number", min = 0, max = 65535, default = 30, example = "keepalive = 30" },
  timeout = { kind = "number", min = 0.001, max = 1e6, default = 10, example = "timeout = 10" },
  tls = {
    kind = "group", default = false, example = "tls = true",
    members = {
      ca = { kind = "string", example = 'ca = "ca.pem"' },
      cert = { kind = "string", example = 'cert = "client.pem"' },
      key = { kind = "string", example = 'key = "client.key"' },
      server_name = { kind = "string", example = 'server_name = "broker.example"' },
      alpn = { kind = "strings", example = 'alpn = {"mqtt"}' },
      verify = { kind = "boolean", default = true, example = "verify = true" },
    },
  },
  reconnect = {
    kind = "group", default = true, example = "reconnect = true",
    members = {
      min = { kind = "number", min = 0.001, max = 1e6, default = 0.1, example = "min = 0.1" },
      max = { kind = "number", min = 0.001, max = 1e6, default = 30, example = "max = 30" },
      attempts = { kind = "integer", min = 0, max = 1e9, default = 0, example = "attempts = 10" },
    },
  },
  max_queue = { kind = "integer", min = 1, max = 2 ^ 31, default = 100000, example = "max_queue = 100000" },
  max_queue_bytes = {
    kind = "integer", min = 1, max = 2 ^ 40, default = 64 * 2 ^ 20, example = "max_queue_bytes = 64 * 2^20",
  },
  max_pending = { kind = "integer", min = 1, max = 2 ^ 31, default = 65536, example = "max_pending = 65536" },
  max_packet = { kind = "integer", min = 64, max = 2 ^ 31, default = 64 * 2 ^ 20, example = "max_packet = 64 * 2^20" },
  overflow = {
    kind = "choice", choices = { "block", "drop_oldest", "drop_newest", "error" }, default = "block",
    example = 'overflow = "block"',
  },
  on_error = { kind = "function", lua = true, example = "on_error = function (mq, err, code) … end" },
  on_connect = { kind = "function", lua = true, example = "on_connect = function (mq) … end" },
  on_disconnect = { kind = "function", lua = true, example = "on_disconnect = function (mq, err, code) … end" },
}

-- What HTTP calls a token (RFC 9110, section 5.6.2): subprotocols and the names of header fields are.
local TOKEN = "^[%w!#$%%&'*+.^_`|~-]+$"

--- What the protocols that WebSocket carries have besides, and take into their own: websocket = options.websocket. The
-- path is as the server sees it, with %20 for a space, and may have a query behind it.
options.websocket = {
  kind = "group", default = false, example = "websocket = true",
  members = {
    path = {
      kind = "string", pattern = "^/[!\"$-~]*$", form = "a path that begins with / and has %20 for a space",
      default = "/", example = 'path = "/mqtt"',
    },
    protocols = {
      kind = "strings", pattern = TOKEN, form = "a list of names of subprotocols, not empty",
      example = 'protocols = {"mqtt"}',
    },
    headers = {
      kind = "map", names = TOKEN, values = "^[^%c]*$",
      form = "a table of header fields: names without spaces, strings without line ends",
      example = 'headers = {Origin = "https://app.example"}',
    },
  },
}

--- The common options with a protocol's own in place of, or besides, them.
function options.extend(own)
  local all = {}
  for name, spec in pairs(options.common) do
    all[name] = spec
  end
  for name, spec in pairs(own) do
    all[name] = spec
  end
  return all
end

-------------------------------------------------------------------------------------------------------- the checks

-- Edits from a to b: insertions, deletions, replacements, and swaps of neighbours.
local function distance(a, b)
  local rows = { [0] = {} }
  for j = 0, #b do
    rows[0][j] = j
  end
  for i = 1, #a do
    local row = { [0] = i }
    rows[i] = row
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local best = math.min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, rows[i - 2][j - 2] + 1)
      end
      row[j] = best
    end
  end
  return rows[#a][#b]
end

--- The name in `specs` that is closest to `name`, and how many slips that makes; nil where `specs` is empty.
function options.nearest(specs, name)
  local nearest, least
  local wanted = tostring(name):sub(1, 64):lower()
  for known in pairs(specs) do
    local edits = distance(wanted, known)
    if #wanted > 2 and known:sub(1, #wanted) == wanted then
      edits = math.min(edits, 0.5)   -- the beginning of a name is closer than a slip: "--vers", "time"
    end
    if not least or edits < least or (edits == least and known < nearest) then
      nearest, least = known, edits
    end
  end
  return nearest, least
end

-- What other libraries, and the protocols themselves, call our options.
local elsewhere = {
  login = "username", user = "username", passcode = "password", pass = "password",
  server = "host", address = "host", ssl = "tls", database = "db",
  clean_session = "clean", clean_start = "clean", clientid = "client_id", id = "client_id",
  headers = "header", persistent = "header", priority = "header", expires = "header",
}

local function unknown(specs, name)
  if type(name) ~= "string" then
    return ("unknown option [%s]; an option has a name: {name = value}"):format(quote(name))
  end
  local nearest, edits = options.nearest(specs, name)
  if not nearest then
    return ("unknown option %s: none are taken here"):format(quote(name))
  end
  local ours = elsewhere[name:lower()]
  if ours and specs[ours] then
    nearest = ours
  elseif edits > math.max(2, #name / 2) and name:sub(1, #nearest) ~= nearest then
    local names = {}
    for known in pairs(specs) do
      names[#names + 1] = known
    end
    table.sort(names)
    return ("unknown option %s; there are: %s"):format(quote(name), table.concat(names, ", "))
  end
  return ("unknown option %s; did you mean %q?"):format(quote(name), nearest)
end

local function wrong(name, spec, value)
  local got = spec.secret and ("a " .. type(value)) or quote(value)
  return ("option %q must be %s, not %s; write %s")
    :format(name, kinds[spec.kind].expected(spec), got, spec.example)
end

local check   -- forward: groups have options of their own

local function check_group(name, spec, value, flat)
  local members = value
  if value == true or value == false then
    flat[name] = value
    members = {}
  else
    flat[name] = true
  end
  local inner, err = check(spec.members, members)
  if not inner then
    return nil, ("in %q: %s"):format(name, err)
  end
  for member, each in pairs(inner) do
    flat[name .. "_" .. member] = each
  end
  return true
end

function check(specs, given)
  local flat = {}
  for name in pairs(given) do
    if not specs[name] then
      return nil, unknown(specs, name)
    end
  end
  for name, spec in pairs(specs) do
    local value = given[name]
    if value == nil then
      value = spec.default
    end
    if value ~= nil then
      local parsed, problem = kinds[spec.kind].parse(spec, value)
      if parsed == nil then
        return nil, problem and ("in %q: %s"):format(name, problem) or wrong(name, spec, value)
      end
      if spec.kind == "group" then
        local ok, err = check_group(name, spec, parsed, flat)
        if not ok then
          return nil, err
        end
      else
        flat[name] = parsed
      end
    end
  end
  return flat
end

--- Checks `given` (a table, or nil) against `specs`. Returns a flat table with the defaults filled in, or nil and what
-- is wrong with which option and what to write instead.
function options.check(specs, given)
  if given == nil then
    given = {}
  elseif type(given) ~= "table" then
    return nil, ("expected a table of options, not %s"):format(quote(given))
  end
  return check(specs, given)
end

--- A value that came as text (a URL's query, a command line), as its option's kind wants it. Text that does not fit
-- stays as it is, so that the check names it.
local function read(spec, text)
  if spec.kind == "number" or spec.kind == "integer" then
    return tonumber(text) or text
  elseif spec.kind == "boolean" or spec.kind == "group" then
    if text == "true" or text == "false" then
      return text == "true"
    end
  elseif spec.kind == "pair" then
    local one, other = text:match("^([%d.]+),?([%d.]*)$")
    if text == "false" then
      return false
    elseif tonumber(one) then
      return { tonumber(one), tonumber(other) or tonumber(one) }
    end
  elseif spec.kind == "strings" then
    local list = {}
    for each in text:gmatch("[^,]+") do
      list[#list + 1] = each
    end
    return list
  end
  return text
end

-- Which group has `name` for a member that may stand for itself. Those of `websocket` do not turn it on.
local function group_of(specs, name, given)
  if specs[name] then
    return nil
  elseif specs.tls.members[name] then
    return "tls"
  elseif specs.websocket and specs.websocket.members[name] and given.websocket then
    return "websocket"
  end
end

--- Puts options that came as text into `given`. The members of `tls` may stand for themselves: ca=ca.pem. So may those
-- of `websocket` where it is on.
function options.read(specs, texts, given)
  for name, text in pairs(texts) do
    local group = group_of(specs, name, given)
    if group then
      if type(given[group]) ~= "table" then
        given[group] = {}
      end
      given[group][name] = read(specs[group].members[name], text)
    else
      given[name] = text
      if specs[name] then
        given[name] = read(specs[name], text)
      end
    end
  end
end

--- Puts the options of a second table into `given`, less the one called `heeded`; they win, over `texts`, too. A group
-- is joined: ws://host/path keeps its path beside websocket = {headers = …}.
function options.complete(given, texts, opt, heeded)
  for name, value in pairs(opt) do
    local known = given[name]
    if name == heeded then
      texts[name] = nil
    elseif type(known) == "table" and type(value) == "table" then
      for member, each in pairs(value) do
        known[member] = each
      end
    elseif type(known) ~= "table" or value ~= true then
      given[name], texts[name] = value, nil
    end
  end
end

local function with_port(address, port)
  if address:find("^%[.*%]$") or not address:find(":", 1, true) then
    return address .. ":" .. port
  elseif address:find("^[^:]+:%d+$") or address:find("^%[.*%]:%d+$") then
    return address
  end
end

--- What no single option can say: how they go together. Changes `flat`; true, or nil and what is wrong.
function options.settle(flat)
  if flat.reconnect_min > flat.reconnect_max then
    return nil, ('in "reconnect": min (%s) is greater than max (%s); write reconnect = {min = 0.1, max = 30}')
      :format(plain(flat.reconnect_min), plain(flat.reconnect_max))
  end
  if (flat.tls_cert == nil) ~= (flat.tls_key == nil) then
    return nil, 'in "tls": a client certificate needs its key, and the key its certificate; '
      .. 'write tls = {cert = "client.pem", key = "client.key"}'
  end
  for index, address in ipairs(flat.hosts or {}) do
    local complete = with_port(address, flat.port)
    if not complete then
      return nil, ('option "hosts" must be a list of "host:port", and %s is none; write an IPv6 address as "[::1]:%d"')
        :format(quote(address), flat.port)
    end
    local port = tonumber(complete:match("%d+$"))
    if port < 1 or port > 65535 then
      return nil, ('option "hosts": the port in %s must be an integer from 1 to 65535; write hosts = {"one:6379"}')
        :format(quote(address))
    end
    flat.hosts[index] = complete
  end
  return true
end

return options
