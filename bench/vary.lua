-- A visitor for wrk: every request has another path and another value of one field.
-- Arguments: METHOD PATH HOST BODY_BYTES CLOSE(0|1). Prints one line of JSON at the end.

local head, middle, tail
local number = 0

function init(args)
  local method, path, host, body_bytes, close = args[1], args[2], args[3], tonumber(args[4]), args[5]
  head = method .. " " .. path
  middle = " HTTP/1.1\r\nHost: " .. host .. "\r\nUser-Agent: wrk\r\nAccept: */*\r\n"
  if close == "1" then
    middle = middle .. "Connection: close\r\n"
  end
  tail = "\r\n\r\n"
  if body_bytes > 0 then
    middle = middle .. "Content-Type: application/octet-stream\r\nContent-Length: " .. body_bytes .. "\r\n"
    tail = tail .. string.rep("x", body_bytes)
  end
  middle = middle .. "X-Visit: "
end

function request()
  number = number + 1
  return head .. number .. middle .. number .. tail
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, "failed": %d, "refused": %d}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout, errors.status
  ))
end
