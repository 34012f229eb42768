/** A registry that tells of a push before it writes the tag, as Distribution does, on a storage that is slow: Deckhouse must not be left with the image before. */
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { serveRelay } from "./relay.ts";
import { eventually } from "./wait.ts";
import { startWorld } from "./world.ts";

const MODULE = "echo";

/** Both longer than the relay waits for a tag in any case (TAG_FOLLOWS_SECONDS). */
test.each(["2.8.2", "3.1.2"] as const)("Distribution %s whose tag comes after the nudge", async (registry) => {
  const world = await startWorld({
    modules: [MODULE, "other"],
    registry,
    seeded: true,
    quiet: true,
    slowTag: { module: MODULE, ms: 2_500 },
  });
  onTestFinished(() => world.stop());
  const config = await world.writeConfig("relay.yaml", { queue: "embedded:./data", edge: true, consumer: true });
  const relay = await serveRelay({ config, log: join(world.folder, "relay.log"), url: world.relayUrl });
  onTestFinished(() => relay.stop());

  const digest = await world.crane.push(world.image(MODULE));
  const outcomes = await eventually("the push is picked up", async () => {
    const told = (await relay.lines()).filter((line) => line.digest === digest).map(({ outcome }) => outcome);
    return told.includes("PICKED_UP") ? told : null;
  });
  expect(outcomes.filter((outcome) => outcome !== "DEFERRED")).toEqual(["QUEUED", "NUDGED", "RENUDGED", "NUDGED", "PICKED_UP"]);
  expect((await world.cluster.override(MODULE)).status).toMatchObject({ imageDigest: digest, message: "Ready" });
});
