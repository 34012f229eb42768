/** Signatures as a real Gitea made them (secret `hush`): the contract of providers.test.ts signs by itself and could share a mistake with auth.ts. */
import { describe, expect, it } from "vitest";
import { authenticate } from "../src/auth.ts";
import { decodeBody } from "../src/body.ts";
import { forgejo } from "../src/providers/forgejo.ts";
import { ghcr } from "../src/providers/ghcr.ts";
import { gitea } from "../src/providers/gitea.ts";
import { type DeliveryHeaders, pushesOf, type RegistryProvider } from "../src/providers/provider.ts";
import { understand } from "../src/receive.ts";
import { deliveriesOf } from "./contracts/deliveries.ts";
import { configOf, source, start, webhook } from "./support/relay.ts";

const captured = deliveriesOf("gitea").filter(({ name }) => name.includes("captured"));
const isSigned = (headers: DeliveryHeaders) => headers["x-gitea-signature"] !== "";
function verdict({ auth: [scheme] }: Pick<RegistryProvider, "auth">, headers: DeliveryHeaders, rawBody: Uint8Array, current = "hush") {
  if (scheme.kind === "oidc") throw new Error("an issuer's token is no signature");
  return authenticate(scheme, { headers, rawBody, pathSecret: null, now: new Date(0) }, { current, previous: null });
}

describe.each(captured.filter(({ headers }) => isSigned(headers)))("$name", ({ headers, body, host }) => {
  it("is let in by the secret that Gitea had, and by no other", () => {
    expect(verdict(gitea, headers, body)).toBe("current");
    expect(verdict(gitea, headers, body, "hush-hush")).toBe("refused");
  });

  it("is not let in by the signature that it carries for GitHub's readers", () => {
    const { "x-gitea-signature": _, ...others } = headers;
    expect(others["x-hub-signature-256"]).toMatch(/^sha256=[0-9a-f]{64}$/);
    expect(verdict(gitea, others, body)).toBe("refused");
    expect(verdict(forgejo, others, body)).toBe("refused");
  });

  it("is no push of GitHub's", () => {
    const decoded = decodeBody(body, headers["content-type"]);
    expect(decoded.ok && pushesOf(ghcr, decoded.value, { headers, host })).toEqual({ pushes: [], unreadable: [] });
  });
});

it("refuses the empty signature of a hook without a secret, whatever the secret here", () => {
  const unsigned = captured.filter(({ headers }) => !isSigned(headers));
  expect(unsigned).toHaveLength(1);
  for (const { headers, body } of unsigned) {
    expect(verdict(gitea, headers, body)).toBe("refused");
    expect(verdict(gitea, headers, body, "")).toBe("refused");
  }
});

it("says that its registry knows a tag in lower case alone, so that an override may spell it otherwise", () => {
  const told = deliveriesOf("gitea").filter(({ name }) => name.startsWith("push-a-tag"));
  for (const { headers, body, host, events } of told) {
    const [push] = events;
    const repo = `${push?.host}/${push?.repository.replace(/\/[^/]*$/, "")}`;
    const config = configOf({ sources: [{ ...source, repo }] });
    const hook = { ...webhook, provider: "gitea", host };
    const { requests } = understand({ webhook: "git", headers, body, method: "POST" }, hook, config, start);
    expect(requests).toMatchObject([{ tag: push?.tag, anyCase: true }]);
  }
  expect(told.length).toBeGreaterThan(0);
});
