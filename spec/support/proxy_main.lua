-- A TCP proxy whose line quality the spec controls, run as a process of its own by helper.proxy:
-- `lua proxy_main.lua TARGET_PORT [PORT [log=PATH | change=WORD=WORD]]`; log: a file for what MQTT clients say
-- (mqtt_watch.lua); change: a word of theirs becomes another of the same length. Each line on stdin is a command, each
-- is answered by one line on stdout: cut | stall | resume | refuse | accept | delay SECONDS | count.

local sys = require "spec_sys"

local target = tonumber(arg[1])
local listener, port = assert(sys.listen(tonumber(arg[2])))
local reserved                 -- keeps the port while nothing listens
local pairs_of = {}            -- fd -> the other side's fd
local pending = {}             -- fd -> list of {due, data} still to be written to fd
local watched = {}             -- a client's fd -> the function that is shown what it sends
local is_client = {}           -- fd -> it is a client's
local total, bytes, delay, stalled = 0, 0, 0, false

local function close_both(fd, how)
  local other = pairs_of[fd]
  for _, each in ipairs { fd, other } do
    pairs_of[each], pending[each], watched[each], is_client[each] = nil, nil, nil, nil
    how(each)
  end
end

local function open_count()
  local n = 0
  for _ in pairs(pairs_of) do
    n = n + 1
  end
  return n / 2
end

local function watch_to(path)
  local file = assert(io.open(path, "a"))
  file:setvbuf("line")
  return require "spec.support.mqtt_watch"(function(line) file:write(math.floor(sys.now()), ": ", line, "\n") end)
end

local extra, parameter = (arg[3] or ""):match("^(%l+)=(.+)$")
local watch = extra == "log" and watch_to(parameter)
local from, to = (extra == "change" and parameter or ""):match("^(%w+)=(%w+)$")

local commands = {}

-- Resets every connection.
function commands.cut()
  while next(pairs_of) do
    close_both(next(pairs_of), sys.reset)
  end
end

-- Bytes stop flowing in both directions; connections stay open, new ones are accepted.
function commands.stall() stalled = true end

function commands.resume() stalled = false end

-- Nothing listens any more; connections that exist live on. The port stays ours: else somebody else's broker might
-- answer there.
function commands.refuse()
  if listener then
    sys.close(listener)
    listener, reserved = nil, assert(sys.listen(port, "127.0.0.1", -1))
  end
end

function commands.accept()
  if not listener then
    sys.close(reserved)
    listener, reserved = assert(sys.listen(port)), nil
  end
end

-- Everything takes this much longer, in each direction.
commands["delay"] = function(seconds) delay = tonumber(seconds) end

function commands.count()
  return ("%d %d %d"):format(total, open_count(), bytes)
end

local function obey()
  local input = sys.read(0)
  if not input or input == "" then
    os.exit(0)
  end
  for name, argument in input:gmatch("(%a+) ?(%S*)\n") do
    io.stdout:write(name, " ", commands[name](argument) or "ok", "\n")
  end
  io.stdout:flush()
end

local function open_pair()
  local client = assert(sys.accept(listener))
  local server = sys.connect("127.0.0.1", target, 5)
  total = total + 1
  if not server then
    sys.reset(client)
    return
  end
  pairs_of[client], pairs_of[server] = server, client
  pending[client], pending[server] = {}, {}
  watched[client] = watch and watch() or nil
  is_client[client] = true
end

local function take(fd)
  local data = sys.read(fd)
  if not data or data == "" then
    close_both(fd, sys.close)
    return
  end
  bytes = bytes + #data
  if from and is_client[fd] then
    data = data:gsub(from, to)
  end
  if watched[fd] then
    watched[fd](data)
  end
  local queue = pending[pairs_of[fd]]
  queue[#queue + 1] = { due = sys.now() + delay, data = data }
end

local function give(fd)
  local queue = pending[fd]
  local written = sys.write_some(fd, queue[1].data)
  if not written then
    close_both(fd, sys.close)
  elseif written == #queue[1].data then
    table.remove(queue, 1)
  else
    queue[1].data = queue[1].data:sub(written + 1)
  end
end

io.stdout:write("port ", port, "\n")
io.stdout:flush()

while true do
  local reading, writing, limit, now = { 0, listener }, {}, nil, sys.now()
  if not stalled then
    for fd, other in pairs(pairs_of) do
      if #pending[other] < 64 then
        reading[#reading + 1] = fd
      end
      local first = pending[fd][1]
      if first and first.due <= now then
        writing[#writing + 1] = fd
      elseif first then
        limit = math.min(limit or 60, first.due - now)
      end
    end
  end
  local readable, writable = assert(sys.poll(reading, writing, limit))
  for fd in pairs(writable) do
    if pairs_of[fd] then
      give(fd)
    end
  end
  for fd in pairs(readable) do
    if fd == 0 then
      obey()
    elseif fd == listener then
      open_pair()
    elseif pairs_of[fd] and not stalled then
      take(fd)
    end
  end
end
