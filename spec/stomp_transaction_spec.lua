-- mq:transaction, with RabbitMQ: all of it or nothing.

local helper = require "spec.helper"
local tools = require "spec.stomp_tools"

local client, inbox, messages, expect, misuse = tools.client, tools.inbox, tools.messages, tools.expect, tools.misuse
local eventually = helper.eventually

describe("MQ.stomp transactions:", function()
  local server

  setup(function() server = helper.shared_rabbitmq() end)
  after_each(tools.close_all)

  for _, version in ipairs(tools.versions) do
    describe("version " .. version, function()
      local function new(options)
        options = options or {}
        options.version = version
        return client(server, options)
      end

      it("nothing is delivered before the function has returned, then everything, in order", function()
        local mq, queue, other = new(), tools.queue(), tools.queue()
        local got, beside = inbox(new(), queue), inbox(new(), other)
        assert.same({ true }, { mq:transaction(function(tx)
          for number = 1, 5 do
            assert.is_true(tx[number % 2 == 0 and "emit" or "post"](tx, queue, tostring(number)))
          end
          assert.is_true((mq:emit(other, "outside")))   -- not of the transaction
          expect(beside, 1)
          tools.sleep(0.01)
          assert.equal(0, #got)
        end) })
        expect(got, 5)
        assert.same({ "1", "2", "3", "4", "5", lost = 0 }, got)
      end)

      it("nothing of it remains where the function raises, and the error goes on", function()
        local mq, queue = new(), tools.queue()
        local got = inbox(mq, queue)
        local problem = { "not", "text" }
        local ok, err = pcall(function()
          mq:transaction(function(tx)
            tx:emit(queue, "lost")
            error(problem)
          end)
        end)
        assert.is_false(ok)
        assert.equal(problem, err)
        ok, err = pcall(function()
          mq:transaction(function(tx)
            tx:emit(queue, "lost")
            error "on purpose"
          end)
        end)
        assert.is_false(ok)
        assert.matches("stomp_transaction_spec.lua:%d+: on purpose\nstack traceback:", err)
        tools.barrier(mq, queue, got)
        assert.same({ lost = 0 }, got)
        assert.equal(0, mq:stats().reconnects)
      end)

      it("an acknowledgement counts with the commit: from queue to queue, each message once", function()
        local mq, from, to = new(), tools.queue(), tools.queue()
        local taken = messages(mq, from, { ack = "manual" })
        for number = 1, 3 do
          assert(mq:emit(from, tostring(number)))
        end
        expect(taken, 3)
        for number = 1, 2 do
          assert.is_true((mq:transaction(function(tx)
            assert.is_true(tx:emit(to, taken[number].payload))
            assert.is_true(tx:ack(taken[number]))
            assert.equal("invalid", (select(3, taken[number]:ack())))
          end)))
        end
        assert.equal("invalid", (select(3, taken[1]:ack())))
        pcall(function()
          mq:transaction(function(tx)
            tx:emit(to, "never")
            tx:ack(taken[3])
            error("changed my mind")
          end)
        end)
        assert.is_true(mq:close())
        assert.same({ "3" }, (tools.left_in(server, from)))
        assert.same({ "1", "2" }, (tools.left_in(server, to)))
      end)

      it("an acknowledgement that was undone can be given again", function()
        local mq, queue = new(), tools.queue()
        local got = messages(mq, queue, { ack = "manual" })
        assert(mq:emit(queue, "x"))
        expect(got, 1)
        pcall(function()
          mq:transaction(function(tx)
            tx:ack(got[1])
            error("changed my mind")
          end)
        end)
        assert.is_true(got[1]:ack())
        assert.is_true((mq:emit(tools.topic(), "")))
        assert.is_true(mq:close())
        assert.same({}, (tools.left_in(server, queue)))
      end)

      it("several go on at a time", function()
        local mq, queue, tasks = new(), tools.queue(), {}
        local got = inbox(new(), queue)
        for number = 1, 10 do
          tasks[number] = tools.task(function()
            return mq:transaction(function(tx)
              for part = 1, 3 do
                assert.is_true(tx:emit(queue, ("%d.%d"):format(number, part)))
                tools.sleep(0.001 * (number % 3))
              end
            end)
          end)
        end
        for number = 1, 10 do
          assert.is_true((tools.await(tasks[number])))
        end
        expect(got, 30)
        local parts = {}
        for _, each in ipairs(got) do
          local number, part = each:match("(%d+)%.(%d+)")
          assert.equal((parts[number] or 0) + 1, tonumber(part))
          parts[number] = tonumber(part)
        end
      end)
    end)
  end

  it("a rejection counts with the commit", function()
    local mq, queue = client(server), tools.queue()
    local got = messages(mq, queue, { ack = "manual" })
    assert(mq:emit(queue, "x"))
    assert(mq:emit(queue, "y"))
    expect(got, 2)
    assert.is_true((mq:transaction(function(tx)
      assert.is_true(tx:nack(got[1]))
      assert.is_true(tx:nack(got[2], { header = { requeue = "false" } }))
      tools.sleep(0.01)
      assert.equal(2, #got)
    end)))
    expect(got, 3)
    assert.equal("x", got[3].payload)
  end)

  it("headers go with what is sent in it", function()
    local mq, queue = client(server), tools.queue()
    local got = messages(mq, queue)
    assert.is_true((mq:transaction(function(tx)
      assert.is_true(tx:emit(queue, "x", { header = { colour = "blue", number = 5 } }))
    end)))
    expect(got, 1)
    assert.same({ "blue", "5" }, { got[1].headers.colour, got[1].headers.number })
  end)

  it("one that cannot be whole is aborted", function()
    local mq, queue = client(server), tools.queue()
    local got = inbox(mq, queue)
    local results = { mq:transaction(function(tx)
      assert.is_true(tx:emit(queue, "half"))
      local ok, err, code = tx:emit(queue, 5)
      assert.same({ nil, "invalid" }, { ok, code })
      assert.equal("tx:emit: the payload must be a string (got a number)", err)
      assert.equal("invalid", (select(3, tx:emit(queue, "more"))))
    end) }
    assert.same({ nil, "tx:emit: the payload must be a string (got a number)", "invalid" },
      { results[1], results[2], results[3] })
    tools.barrier(mq, queue, got)
    assert.equal(0, #got)
  end)

  it("one whose connection breaks is lost, and nothing of it was carried out", function()
    local proxy, queue = tools.proxy(server), tools.queue()
    local mq = client(proxy)
    local got = inbox(client(server), queue)
    local ok, err, code = mq:transaction(function(tx)
      assert.is_true(tx:emit(queue, "before"))
      assert.is_true((mq:emit(tools.topic(), "")))   -- it has been written
      proxy.cut()
      eventually(function() return mq:stats().reconnects == 1 end)
      tx:emit(queue, "after")
    end)
    assert.same({ nil, "lost" }, { ok, code })
    assert.matches("transaction", err)
    assert.is_true((mq:transaction(function(tx) tx:emit(queue, "anew") end)))
    expect(got, 1)
    assert.same({ "anew", lost = 0 }, got)
  end)

  it("one that is made while there is no connection is carried out on the next", function()
    local proxy, queue = tools.proxy(server), tools.queue()
    local mq = client(proxy)
    local got = inbox(client(server), queue)
    assert.is_true((mq:emit(tools.topic(), "")))
    proxy.refuse()
    proxy.cut()
    eventually(function() return mq:stats().state ~= "connected" end)
    local working = tools.task(function()
      return mq:transaction(function(tx)
        for number = 1, 3 do
          assert.is_true(tx:emit(queue, tostring(number)))
        end
      end)
    end)
    tools.sleep(0.05)
    proxy.accept()
    assert.is_true((tools.await(working)))
    expect(got, 3)
  end)

  it("that the broker refuses is told", function()
    local peer = tools.peer [[
      accept()
      while true do
        local command, headers = frame()
        if command == "COMMIT" then
          send("ERROR", { ["receipt-id"] = headers.receipt, message = "no room for that" }, "sorry")
          return
        end
        receipt(headers)
      end
    ]]
    local mq = client(peer)
    local ok, err, code = mq:transaction(function(tx) tx:emit("/queue/x", "x") end)
    assert.same({ nil, "refused" }, { ok, code })
    assert.matches("no room for that", err)
    assert.matches("BEGIN .*SEND .*COMMIT ", peer.log())
    peer.stop()
  end)

  it("the function waits where it wants, in a coroutine and in the main chunk", function()
    local mq, queue = client(server), tools.queue()
    local got = inbox(mq, queue)
    assert.is_true(tools.within(5, function()
      return mq:transaction(function(tx)
        tools.sleep(0.01)
        tx:emit(queue, "1")
        assert(mq:emit(tools.topic(), ""))
      end)
    end))
    assert.is_true((mq:transaction(function(tx)
      tools.sleep(0.01)
      tx:emit(queue, "2")
      assert(mq:emit(tools.topic(), ""))
    end)))
    expect(got, 2)
    assert.same({ "1", "2", lost = 0 }, got)
  end)

  it("raises at the caller's line for what is misused", function()
    local mq, queue, kept = client(server), tools.queue(), nil
    local got = messages(mq, queue, { ack = "manual" })
    local auto = messages(mq, queue .. "-auto")
    local others = messages(client(server), queue .. "-other", { ack = "manual" })
    for _, name in ipairs { "", "-auto", "-other" } do
      assert(mq:emit(queue .. name, "x"))
    end
    expect(got, 1)
    expect(auto, 1)
    expect(others, 1)
    assert.is_true((mq:transaction(function(tx)
      kept = tx
      assert.matches("tx:emit", misuse(function() tx.emit(queue, "x") end))
      assert.matches("tx:ack", misuse(function() tx.ack(got[1]) end))
      assert.matches('unknown option "receipt"', misuse(function() tx:emit(queue, "x", { receipt = true }) end))
      assert.matches('in "header"', misuse(function() tx:post(queue, "x", { header = { receipt = "1" } }) end))
      assert.matches("tx:ack%(msg%)", misuse(function() tx:ack("x") end))
      assert.matches("tx:nack%(msg%)", misuse(function() tx:nack() end))
      assert.matches("manual", misuse(function() tx:ack(auto[1]) end))
      assert.matches("another client", misuse(function() tx:ack(others[1]) end))
      assert.matches('in "header"', misuse(function() tx:ack(got[1], { header = { id = "1" } }) end))
    end)))
    for _, method in ipairs { "emit", "post", "ack", "nack" } do
      local over = "tx:" .. method .. ": the transaction is over"
      assert.matches(over, misuse(function() kept[method](kept, got[1], "") end))
    end
    assert.is_true(got[1]:ack())
    assert.is_true(others[1]:ack())
  end)
end)
