// Answers every request, and writes down what it was: a line of JSON each. Arguments: port, file.
const fs = require("fs");
const http = require("http");
const [port, file] = process.argv.slice(2);

http.createServer((request, response) => {
  const body = [];
  request.on("data", (piece) => body.push(piece));
  request.on("end", () => {
    const { host, "x-forwarded-for": visitor } = request.headers;
    const seen = [visitor || "", request.method, request.url, host || "", Buffer.concat(body).toString("latin1")];
    fs.appendFileSync(file, JSON.stringify(seen) + "\n");
    response.end("node");
  });
}).listen(Number(port), "127.0.0.1");
