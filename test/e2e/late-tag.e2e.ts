/** A registry that tells of a push before it writes the tag, as Distribution does, on a storage that is slow: Deckhouse must not be left with the image before. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { serveRelay } from "./relay.ts";
import { eventually } from "./wait.ts";
import { startWorld } from "./world.ts";

const MODULE = "echo";
/** Deckhouse restarts after its first deploy and looks at everything again: such a look must not find the push. */
const REST_MS = 2_000;

/** Longer than the relay waits for a tag in any case (TAG_FOLLOWS_SECONDS). 2.8.2 writes in place, so that Deckhouse meets half a tag: a download error. */
test("Distribution 3.1.2 whose tag comes after the nudge", async () => {
  const world = await startWorld({ modules: [MODULE], seeded: true, quiet: true, slowTag: { module: MODULE, ms: 2_500 } });
  onTestFinished(() => world.stop());
  const config = await world.writeConfig("relay.yaml", { queue: "embedded:./data", edge: true, consumer: true });
  const relay = await serveRelay({ config, log: join(world.folder, "relay.log"), url: world.relayUrl });
  onTestFinished(() => relay.stop());

  const before = await world.resolve(MODULE);
  await eventually("what was there before runs", async () =>
    (await world.cluster.override(MODULE)).status.imageDigest === before ? true : null,
  );
  await sleep(REST_MS);
  const digest = await world.crane.push(world.image(MODULE));
  const outcomes = await eventually("the push is picked up", async () => {
    const told = (await relay.lines()).filter((line) => line.digest === digest).map(({ outcome }) => outcome);
    return told.includes("PICKED_UP") ? told : null;
  });
  expect(outcomes.filter((outcome) => outcome !== "DEFERRED")).toEqual(["QUEUED", "NUDGED", "RENUDGED", "NUDGED", "PICKED_UP"]);
  expect((await world.cluster.override(MODULE)).status).toMatchObject({ imageDigest: digest, message: "Ready" });
});
