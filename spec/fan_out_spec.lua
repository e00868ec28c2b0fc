-- Many callbacks of one pattern: one subscription at the broker, all are called, and cheap to add and to take off.

local helper = require "spec.helper"

local MANY = 5000

for _, kind in ipairs { "redis", "mqtt" } do
  describe("many callbacks of one pattern over " .. kind, function()
    local MQ = require("MQ." .. kind)
    local broker, mq, publisher

    setup(function()
      broker = kind == "redis" and helper.redis() or helper.mosquitto { log = true }
    end)

    before_each(function()
      mq = MQ:new { host = "127.0.0.1", port = broker.port }
      publisher = MQ:new { host = "127.0.0.1", port = broker.port }
    end)

    after_each(function()
      mq:close()
      publisher:close()
    end)

    -- How often the broker has been asked for that topic.
    local function subscribes(topic)
      if kind == "redis" then
        return tonumber(broker:cli("INFO", "commandstats"):match("cmdstat_psubscribe:calls=(%d+)")) or 0
      end
      local _, count = broker:log():gsub("\t" .. topic .. " %(QoS", "")
      return count
    end

    it("are all called, each once, with one SUBSCRIBE", function()
      local before = subscribes("many/one")
      local calls, total = {}, 0
      for index = 1, MANY do
        calls[index] = 0
        assert(mq:on("many/one", function(msg)
          if msg then
            calls[index] = calls[index] + 1
            total = total + 1
          end
        end))
      end
      assert.equal(1, subscribes("many/one") - before)
      assert(publisher:emit("many/one", "a"))
      assert(publisher:emit("many/one", "b"))
      helper.eventually(function() return total == 2 * MANY end, 30, "each has both")
      for index = 1, MANY do
        assert.equal(2, calls[index])
      end
    end)

    it("cost as much to add and to take off as the first ones did", function()
      -- In instructions, which do not depend on the machine's pace: one call of `each` by another's number.
      local function instructions(fn)
        local jit = rawget(_G, "jit")
        local count = 0
        if jit then
          jit.off()   -- compiled code calls no hook
        end
        debug.sethook(function() count = count + 1 end, "", 100)
        fn()
        debug.sethook()
        if jit then
          jit.on()
        end
        return count * 100
      end
      local callbacks = {}
      for index = 1, MANY do
        callbacks[index] = function() return index end
      end
      local function add(from, to)
        for index = from, to do
          assert(mq:on("many/cost", callbacks[index]))
        end
      end
      local function remove(from, to)
        for index = from, to do
          assert(mq:off("many/cost", callbacks[index]))
        end
      end
      add(1, 100)
      local early = instructions(function() add(101, 600) end)
      add(601, MANY - 500)
      local late = instructions(function() add(MANY - 499, MANY) end)
      assert.is_true(late < 2 * early + 1000, ("%g, then %g instructions"):format(early, late))
      -- From the front, where it is dearest; taking off half of them all once closes the gaps.
      local off = instructions(function() remove(1, MANY - 600) end) / (MANY - 600)
      local off_late = instructions(function() remove(MANY - 599, MANY - 100) end) / 500
      assert.is_true(off < 2 * off_late + 100, ("%g, then %g instructions each"):format(off, off_late))
    end)

    it("taken off while a message waits for others get no more; those added get the next", function()
      local got = {}
      local function note(name)
        return function(msg)
          if msg then
            got[#got + 1] = name .. msg.payload
          end
        end
      end
      local second, third = note "2", note "3"
      local function first(msg)
        if msg and msg.payload == "a" then
          assert(mq:off("many/change", second))
          assert(mq:on("many/change", third))
          got[#got + 1] = "1a"
        end
      end
      assert(mq:on("many/change", first))
      assert(mq:on("many/change", second))
      assert(mq:on("many/change", note "4"))
      assert(publisher:emit("many/change", "a"))
      helper.eventually(function() return #got >= 2 end)
      assert(publisher:emit("many/change", "b"))
      helper.eventually(function() return #got >= 4 end)
      table.sort(got)
      assert.same({ "1a", "3b", "4a", "4b" }, got)
    end)

    it("one that is left gets on, and the last one's off unsubscribes", function()
      local got = 0
      local callbacks = {}
      for index = 1, 10 do
        callbacks[index] = function(msg)
          if msg then
            got = got + index
          end
        end
        assert(mq:on("many/few", callbacks[index]))
      end
      for _, index in ipairs { 3, 1, 10, 9, 2, 4, 8, 5, 6 } do
        assert(mq:off("many/few", callbacks[index]))
      end
      assert(publisher:emit("many/few", "x"))
      helper.eventually(function() return got > 0 end)
      assert.equal(7, got)
      local ok, err, code = mq:off("many/few", callbacks[3])
      assert.same({ nil, "invalid" }, { ok, code })
      assert.matches("with that callback", err)
      assert(mq:off("many/few", callbacks[7]))
      assert.same({ nil, "invalid" }, { (mq:off("many/few")), select(3, mq:off("many/few")) })
    end)

    it("the same function given twice is called twice, and taken off at once", function()
      local got = 0
      local function count(msg)
        got = got + (msg and 1 or 0)
      end
      assert(mq:on("many/same", count))
      assert(mq:on("many/same", count))
      assert(mq:on("many/same", function() end))
      assert(publisher:emit("many/same", "x"))
      helper.eventually(function() return got == 2 end)
      assert(mq:off("many/same", count))
      assert(publisher:emit("many/same", "y"))
      assert(publisher:flush())
      assert.equal(2, got)
    end)
  end)
end
