--- The cf framework's `logging`: [time,ms] [@file:line] [LEVEL] : values, with tables written out.
-- Must not know: who logs, any loop.

local core = require "MQ.core"
local terminal = require "MQ.terminal"

local FOLDER = "logs/"
local DEEPEST = 16

local colours = { DEBUG = "\27[36m", INFO = "\27[32m", WARN = "\27[33m", ERROR = "\27[31m" }
local RESET = "\27[0m"

local function before(a, b)
  local kind_a, kind_b = type(a), type(b)
  if kind_a ~= kind_b then
    return kind_a == "number" or (kind_a == "string" and kind_b ~= "number")
  elseif kind_a == "number" or kind_a == "string" then
    return a < b
  end
  return tostring(a) < tostring(b)
end

local dump

local function dump_value(value, open, depth)
  if type(value) == "table" then
    return dump(value, open, depth)
  elseif type(value) == "string" then
    return '"' .. value .. '"'
  end
  return tostring(value)
end

-- `open`: the tables that contain this one. One that contains itself is not written again.
function dump(value, open, depth)
  local metatable = getmetatable(value)
  if type(metatable) == "table" and metatable.__tostring then
    return tostring(value)
  elseif open[value] or depth > DEEPEST then
    return "{...}"
  end
  open[value] = true
  local keys = {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys, before)
  local parts = {}
  for index, key in ipairs(keys) do
    local shown = type(key) == "string" and '"' .. key .. '"' or tostring(key)
    parts[index] = "[" .. shown .. "]=" .. dump_value(value[key], open, depth + 1)
  end
  open[value] = nil
  return "{" .. table.concat(parts, ", ") .. "}"
end

local function format(...)
  local parts = {}
  for index = 1, select("#", ...) do
    local value = select(index, ...)
    parts[index] = type(value) == "table" and dump(value, {}, 1) or tostring(value)
  end
  return table.concat(parts, ", ")
end

local function timestamp()
  local time = core.time()
  local seconds = math.floor(time)
  return os.date("[%Y-%m-%d %H:%M:%S", seconds) .. (",%03d]"):format(math.floor((time - seconds) * 1000))
end

-- The line that called Log:DEBUG and its like: two functions up from here, three from getinfo.
local function place()
  local info = debug.getinfo(4, "Sl")
  if not info then
    return "[?:-1]"
  end
  local source = info.source:find("^[@=]") and info.source or info.short_src
  return ("[%s:%d]"):format(source, info.currentline)
end

local Log = { __name = "Log" }
Log.__index = Log

--- Makes a log. `dump = true` and `path = "name"` also append to logs/name_DATE.log, a file a day.
function Log:new(opt)
  if self ~= Log then
    error(("call it as Log:new(…), with a colon (got a %s before it)"):format(type(self)), 2)
  end
  opt = opt or {}
  local log = setmetatable({}, Log)
  if opt.dump and type(opt.path) == "string" then
    log.path = opt.path
  end
  return log
end

local function append(log, line)
  local today = os.date("%Y-%m-%d")
  if log.today ~= today then
    if log.file then
      log.file:close()
    end
    local err
    log.today = today
    log.file, err = io.open(FOLDER .. log.path .. "_" .. today .. ".log", "a")
    if log.file then
      log.file:setvbuf("line")
    else
      io.stderr:write("logging: ", err, "\n")
    end
  end
  if log.file then
    log.file:write(line, "\n")
  end
end

local function write(log, level, ...)
  local time, where, text = timestamp(), place(), format(...)
  local mark = where .. " [" .. level .. "]"
  if terminal.colours(1) then
    io.write(time, " ", colours[level], mark, RESET, " : ", text, "\n")
  else
    io.write(time, " ", mark, " : ", text, "\n")
  end
  if log.path then
    append(log, time .. " " .. mark .. " : " .. text)
  end
end

-- Each writes its arguments; none is a tail call, which would hide the line that called it.
for level in pairs(colours) do
  Log[level] = function(log, ...)
    write(log, level, ...)
    return nil
  end
end

return Log
