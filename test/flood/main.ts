/** `npm run flood -- [--minutes 10]`: 200 noise events a second and one real push a minute. Ends with 1 where a push was dropped, doubled or moved. */
import { parseArgs } from "node:util";
import { describe, flood } from "./flood.ts";

const { values } = parseArgs({ options: { minutes: { type: "string", default: "10" } } });
const seconds = Number(values.minutes) * 60;
const flooded = await flood({ cli: "dist/cli.js", seconds, noisePerSecond: 200, pushEverySeconds: 60 });
console.log(describe(flooded));
const isRight = JSON.stringify(flooded.pushed) === JSON.stringify(flooded.queued) && flooded.pushed.length > 0 && flooded.unparsed === 0;
process.exitCode = isRight ? 0 : 1;
