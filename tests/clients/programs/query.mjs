// node-postgres: one query.
import pg from "pg";

const client = new pg.Client({ connectionString: process.argv[2] });
await client.connect();
console.log((await client.query("select 'pod' as answer")).rows[0].answer);
await client.end();
