--- What Lua 5.1 to 5.5 and LuaJIT spell differently, in one place.
-- Must not know: anything of MQ.

local compat = {}

compat.unpack = table.unpack or unpack

compat.pack = table.pack or function(...)
  return { n = select("#", ...), ... }
end

--- A number as a person writes it: Lua 5.3 and later end a whole float in ".0".
function compat.plain(number)
  return (tostring(number):gsub("%.0$", ""))
end

--- The list that `require` asks: `package.searchers`, or `package.loaders` on Lua 5.1.
compat.searchers = package.searchers or package.loaders

--- Whether an error is the interpreter's answer to Ctrl-C. One that is raised inside a function of the core arrives in
-- an error object.
function compat.interrupted(err)
  if type(err) == "string" then
    return err:find("interrupted!$") ~= nil
  end
  return type(err) == "userdata" and tostring(err):find("interrupted!", 1, true) ~= nil
end

local running = coroutine.running
local isyieldable = coroutine.isyieldable

if isyieldable then
  --- The running coroutine, or nil where nothing can yield: in the main chunk, and below a C function
  -- that a yield cannot cross (a `table.sort` comparison; on Lua 5.1 also `pcall` and metamethods).
  function compat.yieldable()
    if isyieldable() then
      return (running())
    end
  end
else
  -- Lua 5.1 and 5.2 cannot say whether a yield would succeed. A C function on the coroutine's stack is what
  -- forbids it, and the stack can be read. (Metamethods leave no frame; there the yield itself raises.)
  local getinfo = debug.getinfo
  local harmless = {}
  if _VERSION ~= "Lua 5.1" then
    harmless[pcall], harmless[xpcall] = true, true
  end

  function compat.yieldable()
    local co, is_main = running()
    if not co or is_main then
      return nil
    end
    local level = 2
    local info = getinfo(level, "Sf")
    while info do
      if info.what == "C" and not harmless[info.func] then
        return nil
      end
      level = level + 1
      info = getinfo(level, "Sf")
    end
    return co
  end
end

return compat
