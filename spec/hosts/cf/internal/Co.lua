-- cf's coroutines, as strict as the strictest of its versions: a coroutine that cf has not made can neither wait nor be
-- woken, and one that has been woken cannot be woken again before it has run.

local loop = require "loop"

-- The one that loads this is the program's main chunk.
local known = setmetatable({ [coroutine.running() or 0] = "waits" }, { __mode = "k" })
local queue = {}
local Co = {}

-- As in cf: until nobody is ready any more.
local run

local function run_once()
  local list = queue
  queue = {}
  for _, entry in ipairs(list) do
    local co = entry.co
    known[co] = "waits"
    local ok, err = coroutine.resume(co, (table.unpack or unpack)(entry.arguments))
    if coroutine.status(co) ~= "suspended" then
      known[co] = nil
      if not ok then
        print("[coroutine error] " .. debug.traceback(co, tostring(err)))
      end
    end
  end
end

function run()
  while #queue > 0 do
    run_once()
  end
end

local function add(co, ...)
  known[co] = "woken"
  queue[#queue + 1] = { co = co, arguments = { ... } }
  loop.idle = run
end

function Co.self()
  return coroutine.running()
end

function Co.wait()
  assert(known[coroutine.running()],
    "[coroutine error]: This coroutine is not associated internally, so it cannot yield.")
  return coroutine.yield()
end

function Co.wakeup(co, ...)
  if co == coroutine.running() then
    error("[coroutine error]: Cannot wake up a running coroutine.")
  elseif coroutine.status(co) ~= "suspended" then
    error("[coroutine error]: Invalid status coroutine. [" .. coroutine.status(co) .. "]")
  elseif not known[co] then
    error("[coroutine error]: This coroutine is not associated internally, so it cannot wakeup.")
  elseif known[co] == "woken" then
    error("[coroutine error]: Try to wake up a coroutine several times.")
  end
  add(co, ...)
end

function Co.spawn(fn, ...)
  local co = coroutine.create(fn)
  add(co, ...)
  return co
end

return Co
