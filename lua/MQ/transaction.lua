--- mq:transaction: sends and acknowledgements that the broker carries out together or not at all.
-- Must not know: frames, what a message looks like, what a broker does in a transaction.

local acknowledge = require "MQ.acknowledge"
local host_loop = require "MQ.loop"
local object = require "MQ.object"
local options = require "MQ.options"
local publishing = require "MQ.publish"

local LAST = 65535         -- of the numbers that a transaction may have
local SHIFT = 256          -- where in the flags of a publish its number stands

local numbers = setmetatable({}, { __mode = "k" })   -- client → { last = number, number → true while it is open }
local states = setmetatable({}, { __mode = "k" })    -- tx → what is known of it

local function take_number(client)
  local taken = numbers[client] or { last = 0 }
  numbers[client] = taken
  for _ = 1, LAST do
    taken.last = taken.last % LAST + 1
    if not taken[taken.last] then
      taken[taken.last] = true
      return taken.last
    end
  end
  return nil, ("%d transactions are open: end some first"):format(LAST), "full"
end

-- BEGIN, COMMIT or ABORT; waits for the answer where `waits`. true; nil, err, code.
local function command(client, verb, number, waits)
  local dispatch = client.dispatch
  local ticket = dispatch.ticket()
  local record = waits and dispatch.pending(ticket)
  local ok, err, code = client.core:command(ticket, verb, { transaction = number })
  if not ok then
    dispatch.withdraw(ticket)
    local failure = client.failure or { err, code }
    return nil, failure[1], failure[2]
  elseif waits then
    ok, err, code = dispatch.answer(record)
  end
  if ok then
    return true
  end
  return nil, err, code
end

-- Runs fn(tx) in a coroutine of its own, in which it may wait on every Lua, and waits for it. true; or false, what it
-- raised, and its traceback where that is text.
local function attempt(client, fn, tx)
  local dispatch = client.dispatch
  local record = dispatch.expect()
  host_loop.current().guard(function(_, err, traceback)
    dispatch.complete(record, false, err, type(err) == "string" and traceback or nil)
  end, function()
    fn(tx)
    dispatch.complete(record, true)
  end)
  dispatch.await(record)
  dispatch.forget()
  if record.done then
    return record[1], record[2], record[3]
  end
  return false, record.stuck or "nothing is left that could end what mq:transaction has called"
end

--------------------------------------------------------------------------------------------------------- what fn gets

local Transaction = { __index = {}, __name = "MQ.transaction" }

-- What is known of a transaction that goes on. Raises at the line of who called one of its methods.
local function open(tx, method)
  local state = states[tx]
  if not state then
    error(("call it as tx:%s(…), on what the function given to mq:transaction gets (got a %s before the colon)")
      :format(method, type(tx)), 3)
  elseif not state.open then
    error(("tx:%s: the transaction is over: its function has returned or raised; begin another one")
      :format(method), 3)
  end
  return state
end

-- A transaction of which something is missing must not be carried out.
local function spoil(state, err, code)
  state.failure = state.failure or { err, code }
  return nil, err, code
end

-- The headers of a call's last argument, or nil. Raises at `level`.
local function headers(specs, opt, call, level)
  if opt == nil then
    return nil
  end
  local given, err = options.check(specs, opt)
  if not given then
    error(("%s: %s"):format(call, err), level + 1)
  end
  return given.header
end

local function send(state, call, destination, data, opt)
  local header = headers(state.kind.publish_options, opt, call, 3)
  if state.failure then
    return nil, state.failure[1], state.failure[2]
  end
  -- With a ticket that nobody waits for: a flush has nothing to say of it, the commit has.
  local client = state.client
  local ok, err, code = publishing.put(client, call, destination, data, client.dispatch.ticket(),
    state.number * SHIFT, header and { header = header })
  if ok then
    return true
  end
  return spoil(state, err, code)
end

--- Sends a message where the transaction is committed. true at once, for the commit has the broker's word; nil, err,
-- code where it cannot be sent, and then the transaction is aborted in the end.
function Transaction.__index:emit(destination, data, opt)
  local ok, err, code = send(open(self, "emit"), "tx:emit", destination, data, opt)
  return ok, err, code
end

--- The same.
function Transaction.__index:post(destination, data, opt)
  local ok, err, code = send(open(self, "post"), "tx:post", destination, data, opt)
  return ok, err, code
end

for method, ok in pairs { ack = true, nack = false } do
  local call = ("tx:%s(msg)"):format(method)

  -- Says how a message fared where the transaction is committed; where it is not, the message waits for its
  -- acknowledgement again. true; nil, err, code.
  Transaction.__index[method] = function(self, msg, opt)
    local state = open(self, method)
    local kind, client = state.kind, state.client
    local header = headers(kind.acknowledge_options, opt, call, 2)
    local receiver, undo = acknowledge.pending(msg)
    if receiver and receiver ~= client then
      error(("%s: the message came to another client; only the client that receives can acknowledge"):format(call), 2)
    elseif state.failure then
      return nil, state.failure[1], state.failure[2]
    end
    local done, err, code = acknowledge.settle(kind.class, msg, ok, call,
      kind.tell(client, header, state.number))
    if not done then
      return spoil(state, err, code)
    end
    table.insert(state.acknowledged, undo)
    return true
  end
end

------------------------------------------------------------------------------------------------------ the transaction

local function abort(state)
  command(state.client, "abort", state.number)
  for _, undo in ipairs(state.acknowledged) do
    undo()
  end
end

--- The method `transaction` of a protocol's clients. `kind`: the class of messages that a program acknowledges (class),
-- what makes the function that tells the broker so (tell), and the options of tx:emit and of tx:ack.
local function method(kind)
  --- Calls fn(tx), and commits what it did with tx once it has returned: true; nil, err, code where the broker did not.
  -- Where it raises, the transaction is aborted, and the error raised again.
  return function(self, fn)
    if not object.publishers[self] then
      object.misuse(self, "transaction")
    elseif type(fn) ~= "function" then
      error(("mq:transaction: expected a function to call with the transaction (got a %s); "
        .. "write mq:transaction(function (tx) … end)"):format(type(fn)), 2)
    end
    if self.state == "idle" then
      self.dispatch.let_pass(self)
    end
    local number, err, code = take_number(self)
    local ok = nil
    if number then
      ok, err, code = command(self, "begin", number)
    end
    if not ok then
      numbers[self][number or 0] = nil
      return nil, err, code
    end
    local tx = setmetatable({}, Transaction)
    local state = { client = self, kind = kind, number = number, open = true, failure = false, acknowledged = {} }
    states[tx] = state
    local returned, problem, traceback = attempt(self, fn, tx)
    state.open = false
    local failure = state.failure
    if returned and not failure then
      ok, err, code = command(self, "commit", number, true)
    else
      abort(state)
    end
    numbers[self][number] = nil
    if not returned then
      error(traceback or problem, 0)
    elseif failure then
      return nil, failure[1], failure[2]
    elseif ok then
      return true
    end
    return nil, err, code
  end
end

return { method = method }
