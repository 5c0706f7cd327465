// fetch of Node.js: one request.
console.log(await (await fetch(process.argv[2])).text());
