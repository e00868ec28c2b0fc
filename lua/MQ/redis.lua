--- Redis publish/subscribe: its options, their defaults, the shape of its messages.
-- Must not know: how anything is sent, received or waited for.

local client = require "MQ.client"
local options = require "MQ.options"

return client.define {
  module = "MQ.redis",
  name = "redis",

  options = options.extend {
    port = { kind = "integer", min = 1, max = 65535, digits = true, example = "port = 6379" },
    path = { kind = "string", example = 'path = "/run/redis.sock"' },
  },

  default_port = function()
    return 6379
  end,

  -- `auth` is Redis' password without a user. A table written for three protocols names the others' user besides, who
  -- is none of Redis'.
  settle = function(flat)
    if flat.auth then
      flat.username, flat.password, flat.auth = nil, flat.auth, nil
    elseif flat.username then
      flat.password = flat.password or ""
    end
    flat.vhost = nil
    return true
  end,

  subscribe_options = { exact = { kind = "boolean", example = "exact = true" } },
  publish_options = {},
  answers_with_receivers = true,   -- what emit returns besides true

  receiver = function(fn, pattern, exact)
    local kind = exact and "message" or "pmessage"
    return function(source, payload)
      fn { type = kind, source = source, pattern = pattern, payload = payload }
    end
  end,
}
