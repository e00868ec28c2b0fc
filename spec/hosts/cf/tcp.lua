-- The two functions of cf's tcp module that watch a descriptor: start resumes a coroutine, from the loop itself, each
-- time that fd is readable.

local loop = require "loop"

local tcp = {}
local weak = { __mode = "v" }

function tcp.new()
  return {}
end

local function find(io)
  for watcher in pairs(loop.watchers) do
    if watcher.io == io then
      return watcher
    end
  end
end

function tcp.stop(io)
  loop.watchers[find(io) or io] = nil
end

function tcp.start(io, fd, events, co)
  assert(events == 1 and type(co) == "thread")
  tcp.stop(io)
  loop.watchers[setmetatable({ io = io, co = co, fd = fd }, weak)] = true
end

return tcp
