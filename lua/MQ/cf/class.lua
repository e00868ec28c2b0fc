--- The cf framework's `class`: class("name"[, parent]) → a class whose objects cls:new(…) makes, after ctor(self, …).
-- Must not know: anything of MQ.

local Class = { __name = "class" }
Class.__index = Class

-- What a class has of its own and no child takes over.
local own = { __name = true, __index = true, __metatable = true }

--- Makes an object: an empty table that behaves like the class, given to its ctor with the arguments.
function Class.new(cls, ...)
  if getmetatable(cls) ~= Class then
    error(("call it as Class:new(…), with a colon (got a %s before it)"):format(type(cls)), 2)
  end
  local object = setmetatable({}, cls)
  local ctor = cls.ctor
  if ctor then
    ctor(object, ...)
  end
  return object
end

Class.__call = Class.new

function Class.__tostring(cls)
  return "class: " .. tostring(cls.__name)
end

--- A new class. It starts with what its parent has at this moment, metamethods too.
return function(name, parent)
  if parent ~= nil and getmetatable(parent) ~= Class then
    error(("class: the parent of %q must be a class (got a %s)"):format(tostring(name), type(parent)), 2)
  end
  local cls = {}
  for key, value in pairs(parent or {}) do
    if not own[key] then
      cls[key] = value
    end
  end
  cls.__name, cls.__index = name, cls
  return setmetatable(cls, Class)
end
