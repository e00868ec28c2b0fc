--- Makes `require "cf"`, "httpd", "json", "logging" and "class" find the modules in this folder, where the program has
-- none of its own: the searcher that answers for them is asked last. `mq run` loads it; a plain script may, too:
--
--   require "MQ.cf"
--   local cf = require "cf"
--   cf.fork(function () … end)
--   require("MQ").loop.run()
--
-- Must not know: what the modules do.

local compat = require "MQ.compat"
local core = require "MQ.core"

local names = { cf = true, class = true, json = true, logging = true }

if core.server then   -- a build may leave it out
  names.httpd = true
end

local function load(name)
  return require("MQ.cf." .. name)
end

local function searcher(name)
  if names[name] then
    return load, "MQ.cf." .. name
  end
  return nil
end

table.insert(compat.searchers, searcher)

return { searcher = searcher }
