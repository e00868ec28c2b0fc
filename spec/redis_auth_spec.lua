-- MQ.redis: logins, permissions, databases.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"

local client, inbox, expect, task, await = tools.client, tools.inbox, tools.expect, tools.task, tools.await
local eventually = helper.eventually
local quick = { min = 0.01, max = 0.05 }

local function assert_fails(wanted, ok, err, code)
  assert.same({ "nil", "string", wanted }, { type(ok), type(err), code })
  return err
end

-- How many connections the server has seen. Each cli call is one, too.
local function connections(server)
  return tonumber(server:cli("INFO", "stats"):match("total_connections_received:(%d+)"))
end

-- Runs fn; the number of connections that others made meanwhile.
local function connections_during(server, fn)
  local before = connections(server)
  fn()
  return connections(server) - before - 1
end

describe("MQ.redis", function()
  after_each(tools.close_all)

  describe("with requirepass", function()
    local server

    setup(function() server = helper.redis { password = "se%cret" } end)

    it("logs in with auth, with password, with user default, from a URL", function()
      assert.is_true(client(server, { auth = "se%cret" }):emit("x", ""))
      assert.is_true(client(server, { password = "se%cret" }):emit("x", ""))
      assert.is_true(client(server, { username = "default", password = "se%cret" }):emit("x", ""))
      local mq = tools.keep(require("MQ").connect("redis://:se%25cret@127.0.0.1:" .. server.port))
      assert.is_true(mq:emit("x", ""))
      mq = client(server, { auth = "se%cret", username = "of another protocol" })
      assert.is_true(mq:emit("x", ""))
    end)

    for name, options in pairs {
      ["a wrong password"] = { auth = "wrong" },
      ["no password"] = {},
      ["an unknown user"] = { username = "nobody", password = "se%cret" },
      ["an empty password"] = { auth = "" },
    } do
      it(name .. " is fatal: everybody is told, nothing is tried again", function()
        local made = connections_during(server, function()
          options.reconnect = quick
          local mq = client(server, options)
          local emitting = task(function() return mq:emit("x", "") end)
          local serving = task(function() return mq:start() end)
          local err = assert_fails("auth", mq:on("/x", function() end))
          assert.not_matches("cret", err)
          assert.not_matches("wrong", (err:gsub("WRONGPASS", "")))
          assert_fails("auth", await(emitting))
          assert_fails("auth", await(serving))
          assert_fails("auth", mq:start())
          assert.equal("failed", mq:stats().state)
          tools.sleep(0.2)   -- a retry would come after 0.01
        end)
        assert.equal(1, made)
      end)
    end

    it("later calls give the same reason", function()
      local mq = client(server, { auth = "wrong" })
      local err = assert_fails("auth", mq:emit("x", ""))
      assert.equal(err, assert_fails("auth", mq:emit("x", "")))
      assert.equal(err, assert_fails("auth", mq:post("x", "")))
      assert.equal(err, assert_fails("auth", mq:on("x", function() end)))
    end)

    it("posts that were queued count as failed", function()
      local mq = client(server, { auth = "wrong" })
      local accepted = 0
      for _ = 1, 10 do
        -- once the login has failed, a post is refused at once, and is none that a flush has to tell of
        accepted = accepted + (mq:post("x", "") and 1 or 0)
      end
      assert.is_true(accepted > 0)
      local ok, err, failed, code = mq:flush(5)
      assert.same({ "nil", "string", accepted, "auth" }, { type(ok), type(err), failed, code })
    end)

    it("tells on_error, or stderr where nobody waits", function()
      local told = {}
      local mq = client(server, { auth = "wrong", on_error = function(_, _, code) told[#told + 1] = code end })
      mq:post("x", "")
      expect(told, 1)
      assert.same({ "auth" }, told)
    end)

    it("a password that changes while connected ends the client at the next reconnect", helper.real_broker_only(
      "the embedded broker's passwords do not change while it runs", function()
      local victim = helper.redis { password = "old" }
      local disconnects = {}
      local mq = client(victim, {
        auth = "old", reconnect = quick, on_disconnect = function(_, _, code) disconnects[#disconnects + 1] = code end,
      })
      local got = inbox(mq, "/x")
      local serving = task(function() return mq:start() end)
      victim:cli("CONFIG", "SET", "requirepass", "new")
      victim.password = "new"
      victim:cli("CLIENT", "KILL", "TYPE", "pubsub")
      assert_fails("auth", await(serving))
      eventually(function() return got.lost > 0 end)
      tools.sleep(0.1)
      assert.equal(1, got.lost)
      assert.equal("lost", disconnects[1])
      assert.equal(0, victim:client_count())
    end))
  end)

  describe("with ACL users", helper.real_broker_only("the embedded broker has users and no permissions", function()
    local server

    setup(function()
      server = helper.redis { config = {
        "user alice on >wonder ~* &/a/* +@all",
        "user reader on >read ~* &/a/* +@all -publish",
        "user minimal on >min ~* &* -@all +publish +psubscribe +subscribe +ping +select",
      } }
    end)

    it("logs in with username and password, from a URL too", function()
      local mq = client(server, { username = "alice", password = "wonder" })
      assert.is_true(mq:emit("/a/1", ""))
      assert.matches("user=alice", server:cli("CLIENT", "LIST"))
      mq = tools.keep(require("MQ").connect("redis://alice:wonder@127.0.0.1:" .. server.port))
      assert.is_true(mq:emit("/a/1", ""))
      assert_fails("auth", client(server, { username = "alice", password = "no" }):emit("x", ""))
    end)

    it("a channel that is not permitted is refused; the connection stays", function()
      local mq = client(server, { username = "alice", password = "wonder" })
      local got = inbox(mq, "/a/*")
      assert.matches("NOPERM", assert_fails("refused", mq:on("/b/*", function() end)))
      assert.matches("NOPERM", assert_fails("refused", mq:emit("/b/1", "")))
      assert.matches("NOPERM", assert_fails("refused", mq:on("/b", function() end, { exact = true })))
      assert.same({ true, 1 }, { mq:emit("/a/1", "x") })
      expect(got, 1)
      assert.same({ 0, 0 }, { mq:stats().reconnects, got.lost })
      local ok, _, code = mq:off("/b/*")   -- the refusal removed it
      assert.same({ nil, "invalid" }, { ok, code })
    end)

    it("flush counts the posts that were refused, once", function()
      local mq = client(server, { username = "alice", password = "wonder" })
      for i = 1, 30 do
        assert.is_true(mq:post(i % 3 == 0 and "/b" or "/a/1", ""))
      end
      local ok, err, failed, code = mq:flush(5)
      assert.same({ nil, 10, "refused" }, { ok, failed, code })
      assert.matches("NOPERM", err)
      assert.is_true(mq:flush(5))
    end)

    it("answers find their callers where some are refused", function()
      local mq, tasks = client(server, { username = "alice", password = "wonder" }), {}
      for i = 1, 60 do
        tasks[i] = task(function()
          if i % 3 == 0 then
            return mq:emit("/b", "")
          elseif i % 3 == 1 then
            return mq:emit("/a/1", "")
          end
          return mq:on(i % 2 == 0 and "/a/" .. i or "/b/" .. i, function() end, { exact = true })
        end)
      end
      for i, each in ipairs(tasks) do
        local ok, _, code = await(each)
        local refused = i % 3 == 0 or (i % 3 == 2 and i % 2 == 1)
        assert.same({ i, not refused or nil, refused and "refused" or nil }, { i, ok, refused and code or nil })
      end
    end)

    it("a user that may subscribe and not publish, one that may do little else", function()
      local reader = client(server, { username = "reader", password = "read" })
      local got = inbox(reader, "/a/1", { exact = true })
      assert_fails("refused", reader:emit("/a/1", ""))
      local minimal = client(server, { username = "minimal", password = "min" })
      assert.same({ true, 1 }, { minimal:emit("/a/1", "x") })
      expect(got, 1)
    end)

    it("permission that ends at a reconnect: the subscription is told, the others go on", function()
      local told = {}
      local mq = client(server, {
        username = "alice", password = "wonder", reconnect = quick,
        on_error = function(_, err, code) told[#told + 1] = { err, code } end,
      })
      local kept, gone = inbox(mq, "/a/kept", { exact = true }), inbox(mq, "/a/gone", { exact = true })
      server:cli("ACL", "SETUSER", "alice", "resetchannels", "&/a/kept")   -- kills connections that had more
      expect(told, 1)
      server:cli("ACL", "SETUSER", "alice", "resetchannels", "&/a/*")
      assert.same({ "refused" }, { told[1][2] })
      assert.matches("/a/gone", told[1][1])
      eventually(function() return server:subscribers("/a/kept") == 1 end)
      assert.same({ true, 1 }, { client(server):emit("/a/kept", "x") })
      expect(kept, 1)
      assert.same({ 1, 1 }, { kept.lost, gone.lost })
    end)
  end))

  describe("db", function()
    local server

    -- the embedded broker has sixteen
    setup(function() server = helper.redis { config = { databases = helper.embedded and 16 or 4 } } end)

    it("selects, again after each reconnect", function()
      local mq = client(server, { db = 3, reconnect = quick })
      assert.is_true(mq:emit("x", ""))
      assert.matches("db=3", server:cli("CLIENT", "LIST"))
      server:cli("CLIENT", "KILL", "TYPE", "normal")
      eventually(function() return mq:stats().reconnects == 1 end)
      assert.is_true(mq:emit("x", ""))
      assert.matches("db=3", server:cli("CLIENT", "LIST"))
    end)

    it("out of range is fatal, and says so", function()
      local made = connections_during(server, function()
        local mq = client(server, { db = helper.embedded and 16 or 4, reconnect = quick })
        local serving = task(function() return mq:start() end)
        assert.matches(helper.embedded and "16" or "4", assert_fails("refused", mq:emit("x", "")))
        assert_fails("refused", await(serving))
        tools.sleep(0.1)
      end)
      assert.equal(1, made)
    end)
  end)
end)
