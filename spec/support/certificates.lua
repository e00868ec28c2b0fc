-- A CA, a server certificate for localhost, a client certificate, and a CA that signed nothing.

local Process = require "spec.support.process"

local function openssl(dir, ...)
  local code, out, err = Process.start({ "openssl", ... }, { cwd = dir }):wait(30)
  if code ~= 0 then
    error(("openssl %s: %s\n%s%s"):format(table.concat({ ... }, " "), code, out, err), 0)
  end
end

local function authority(dir, name)
  openssl(dir, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
    "-keyout", name .. ".key", "-out", name .. ".pem", "-days", "2", "-subj", "/CN=MQ spec " .. name,
    "-addext", "keyUsage=critical,keyCertSign,cRLSign")
end

local function signed(dir, name, names)
  local file = assert(io.open(dir .. "/" .. name .. ".ext", "w"))
  file:write("subjectAltName=", names, "\nbasicConstraints=CA:FALSE\n")
  file:close()
  openssl(dir, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
    "-keyout", name .. ".key", "-out", name .. ".csr", "-subj", "/CN=" .. name)
  openssl(dir, "x509", "-req", "-in", name .. ".csr", "-CA", "ca.pem", "-CAkey", "ca.key",
    "-CAcreateserial", "-out", name .. ".pem", "-days", "2", "-extfile", name .. ".ext")
end

-- -> paths: ca, cert, key (server), client_cert, client_key, other_ca
return function(dir)
  authority(dir, "ca")
  authority(dir, "other")
  signed(dir, "server", "DNS:localhost,DNS:mq.test,IP:127.0.0.1,IP:::1")
  signed(dir, "client", "DNS:client")
  return {
    ca = dir .. "/ca.pem", cert = dir .. "/server.pem", key = dir .. "/server.key",
    client_cert = dir .. "/client.pem", client_key = dir .. "/client.key", other_ca = dir .. "/other.pem",
  }
end
