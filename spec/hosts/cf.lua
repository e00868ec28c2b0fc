-- The scenario as a program of cf: of the stand-in for cf in spec/hosts/cf, which has cf's names and manners.

package.path = "spec/hosts/cf/?.lua;" .. package.path
local cf = require "cf"
local loop = require "loop"

local function every(seconds, fn)
  local timer = cf.at(seconds, fn)
  return function()
    timer:stop()
  end
end

-- cf's own sleep(0) runs what is ready and looks at nothing else; and a time that ends in the running hundredth of a
-- second never comes.
local function sleep(seconds)
  if seconds > 0.02 then
    cf.sleep(seconds)
  else
    require("MQ").loop.sleep(seconds)
  end
end

cf.fork(function()
  require "spec.hosts.scenario" { sleep = sleep, every = every }
  loop.stop()
end)
loop.run()
