/** A minute of what an instance-wide registry sends: hardly any of it is for us. `npm run flood` does it for longer. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { describe, flood } from "../flood/flood.ts";
import { say } from "./parts/cache.ts";

test("200 noise events a second: every real push is queued, in order, and nothing else is", async () => {
  const flooded = await flood({
    cli: join(import.meta.dirname, "../../dist/cli.js"),
    seconds: 60,
    noisePerSecond: 200,
    pushEverySeconds: 5,
  });
  for (const line of describe(flooded).split("\n")) say(line);
  expect(flooded.pushed.length).toBeGreaterThan(5);
  expect(flooded.queued).toEqual(flooded.pushed);
  expect(flooded).toMatchObject({ refused: 0, unparsed: 0 });
  expect(flooded.noise).toBeGreaterThan(100 * flooded.pushed.length);
});
