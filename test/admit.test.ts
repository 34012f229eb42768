import { expect, it } from "vitest";
import { admit } from "../src/admit.ts";
import { createSecretReader } from "../src/secrets.ts";
import { configOf, fakeObserver, start, webhook } from "./support/relay.ts";

it("a previous secret that was taken away too early refuses nobody who has the current one, and is told of", async () => {
  const { observer, alarms } = fakeObserver();
  const config = configOf({ webhooks: { registry: { ...webhook, previousSecret: { kind: "env", name: "OLD" } } } });
  const readSecret = createSecretReader({ env: { SECRET: "correct-horse-battery" } });
  const call = (secret: string) => ({
    webhook: "registry",
    pathSecret: null,
    headers: { authorization: `Bearer ${secret}` },
    body: new Uint8Array(),
  });
  await expect(admit(call("correct-horse-battery"), { config, readSecret, observer }, start)).resolves.toBe(config.webhooks["registry"]);
  expect(alarms).toMatchObject([{ code: "OLD_SECRET_MISSING", webhook: "registry", why: "the secret env:OLD is not set" }]);
  for (const secret of ["former-horse-battery", ""]) {
    await expect(admit(call(secret), { config, readSecret, observer }, start)).rejects.toMatchObject({ code: "AUTH_FAILED" });
  }
});
