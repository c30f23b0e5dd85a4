// Preloaded into Azurite: each line on stdin sets its clock forward by so many milliseconds, and the end of
// stdin, which is the end of whoever started it, ends it.
const RealDate = Date;
const realNow = Date.now;
let ahead = 0;

RealDate.now = () => realNow() + ahead;
globalThis.Date = new Proxy(RealDate, {
  construct: (target, given) => Reflect.construct(target, given.length ? given : [RealDate.now()]),
});

require("node:readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    ahead += Number(line);
    console.log(`ahead ${ahead}`);
  })
  .on("close", () => process.exit());
