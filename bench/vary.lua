-- A visitor for wrk: every request has another path and another value of one field or more.
-- Arguments: METHOD PATH HOST BODY_BYTES CLOSE(0|1) HEAD. Prints one line of JSON at the end. HEAD is one of
--   plain    four fields
--   browser  a browser's, as it reaches an Ingress; path and cookie vary
--   ingress  the same once nginx as an Ingress has passed it on; path, request id, address and cookie vary

-- The fields of a browser; the cookie goes on with a number.
local before_referer = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
  .. "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
  .. "Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n"
  .. "Accept-Encoding: gzip, deflate, br, zstd\r\n"
local before_cookie = "Cookie: theme=dark; consent=all; _ga=GA1.1.1834592038.1760000000; session=9b1d4e7c2a5f8036"
local after_cookie = "\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin"

local number = 0
local heads = {}

local function body_fields(bytes, close)
  local fields = ""
  if close == "1" then
    fields = fields .. "Connection: close\r\n"
  end
  if bytes > 0 then
    fields = fields .. "Content-Type: application/octet-stream\r\nContent-Length: " .. bytes .. "\r\n"
  end
  return fields
end

function heads.plain(start, host, more, tail)
  local middle = " HTTP/1.1\r\nHost: " .. host .. "\r\nUser-Agent: wrk\r\nAccept: */*\r\n" .. more .. "X-Visit: "
  return function()
    number = number + 1
    return start .. number .. middle .. number .. tail
  end
end

function heads.browser(start, host, more, tail)
  if not more:find("Connection: ") then
    more = "Connection: keep-alive\r\n" .. more
  end
  local middle = " HTTP/1.1\r\nHost: " .. host .. "\r\n" .. before_referer .. more
    .. "Referer: https://" .. host .. "/small/\r\n" .. before_cookie
  tail = after_cookie .. tail
  return function()
    number = number + 1
    return start .. number .. middle .. number .. tail
  end
end

function heads.ingress(start, host, more, tail)
  math.randomseed(os.time())
  local prefix = ""
  for _ = 1, 24 do
    prefix = prefix .. string.format("%x", math.random(0, 15))
  end
  local before_id = " HTTP/1.1\r\nHost: " .. host .. "\r\nX-Request-ID: " .. prefix
  local before_address = "\r\nX-Real-IP: 198.51."
  local again = "\r\nX-Forwarded-For: 198.51."
  local after_address = "\r\nX-Forwarded-Host: " .. host .. "\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Proto: https\r\n"
    .. "X-Forwarded-Scheme: https\r\nX-Scheme: https\r\n" .. before_referer .. more
    .. "Referer: https://" .. host .. "/small/\r\n" .. before_cookie
  local floor = math.floor
  tail = after_cookie .. tail
  return function()
    number = number + 1
    local third, fourth = floor(number / 250) % 250, number % 250
    -- decimal digits are hexadecimal ones too
    return start .. number .. before_id .. 10000000 + number % 90000000 .. before_address .. third .. "." .. fourth
      .. again .. third .. "." .. fourth .. after_address .. number .. tail
  end
end

function init(args)
  local method, path, host, body_bytes, close, head = args[1], args[2], args[3], tonumber(args[4]), args[5], args[6]
  local tail = "\r\n\r\n" .. string.rep("x", body_bytes)
  request = heads[head](method .. " " .. path, host, body_fields(body_bytes, close), tail)
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
