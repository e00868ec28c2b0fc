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
  --- The running coroutine, or nil where nothing can yield: in the main chunk, in a finalizer, and below a C function
  -- that a yield cannot cross (a `table.sort` comparison; on Lua 5.1 also `pcall` and metamethods).
  function compat.yieldable()
    if isyieldable() then
      return (running())
    end
  end
else
  -- Lua 5.1 and 5.2, and the LuaJIT inside nginx, cannot say whether a yield would succeed. A C function on the
  -- coroutine's stack is what forbids it, and the stack can be read. A finalizer leaves no frame of C; but Lua calls no
  -- hook while one runs. (Nor do Lua 5.1's other metamethods leave one; there the yield itself raises.)
  local getinfo, gethook, sethook = debug.getinfo, debug.gethook, debug.sethook
  local hooked

  local function note()
    hooked = true
  end

  local function in_finalizer()
    local hook, mask, count = gethook()
    if type(hook) == "string" then
      return false   -- a hook of the host's, which could not be put back
    end
    hooked = false
    sethook(note, "", 1)
    sethook(hook, mask, count)
    return not hooked
  end

  -- function → whether a yield cannot cross it. To ask Lua again each time would cost more than all the rest.
  local forbids = setmetatable({}, { __mode = "k" })
  if _VERSION ~= "Lua 5.1" or rawget(_G, "jit") then
    forbids[pcall], forbids[xpcall] = false, false
  end

  function compat.yieldable()
    local co, is_main = running()
    if not co or is_main then
      return nil
    end
    local level = 2
    local info = getinfo(level, "f")
    while info do
      local fn = info.func   -- nil: Lua 5.1's place holder for a tail call
      local forbidden = fn and forbids[fn]
      if forbidden == nil and fn then
        forbidden = getinfo(fn, "S").what == "C"
        forbids[fn] = forbidden
      end
      if forbidden then
        return nil
      end
      level = level + 1
      info = getinfo(level, "f")
    end
    if in_finalizer() then
      return nil
    end
    return co
  end
end

return compat
