/** What the trials of whoever is on call share: a desk for each file of them, and causes that several need. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll } from "vitest";
import { type Desk, openDesk, PUSHED } from "./oncall.ts";
import { say } from "./parts/cache.ts";
import { eventually } from "./wait.ts";

export const MODULES = [PUSHED, "other", "third"];
export const NAMESPACE = "mpo-relay";
export const DLQ_WAITS = /^\[0\] [\s\S]*waiting, and tried again by themselves/;
export const APPLIED = /^\[0\] [\s\S]*(?:created|configured|unchanged)/;
/** The last look comes long after the stand-in of Deckhouse looks at all again: an upgrade, or a load of its own, holds it. */
const CALM = { cooldown: "100ms", looks: ["500ms", "1s", "2s", "5s", "10s", "20s", "60s"] };
export const SWEEPING = { sweep: "15s", ...CALM };

export interface Trial {
  /** Of the file's tests. */
  desk(): Desk;
  push(): Promise<string>;
  /** Types the command until no dead letter is left. */
  emptied(command: string): Promise<unknown>;
  /** Objects for whoever administers the cluster. */
  apply(objects: readonly object[]): Promise<void>;
  /** A policy that lets the relay's account write an override only where the expression holds: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/ */
  deny(expression: string): Promise<void>;
  allow(): Promise<void>;
}

/** To be called at the top of a file. `rules`: a file in place of the shipped ones. */
export function openTrial({ rules }: { rules?: string } = {}): Trial {
  let opened: Desk | null = null;
  beforeAll(async () => {
    opened = await openDesk({ modules: MODULES, version: "v1alpha1", quiet: true, seeded: true, tuning: CALM, ...(rules && { rules }) });
  }, 240_000);
  afterAll(async () => {
    if (!opened) return;
    const rows = [...opened.done].map(([code, { followed }]) => `${code} (${followed})`);
    say(`on call: ${opened.done.size} codes fired for real, page followed (commands): ${rows.join(", ")}`);
    await opened.stop();
  });
  const desk = () => {
    if (!opened) throw new Error("the desk is not open yet");
    return opened;
  };
  const trial: Trial = {
    desk,
    push: () => desk().world.crane.push(desk().world.image(PUSHED)),
    emptied: (command) =>
      eventually(command, async () => {
        await desk().shell(command);
        return (await desk().shell("mpo-relay dlq list")).startsWith("[0]") ? true : null;
      }),
    async apply(objects) {
      const file = join(desk().world.folder, "objects.json");
      await writeFile(file, JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));
      await desk().kubectl("apply", "-f", file);
    },
    async deny(expression) {
      const metadata = { name: "oncall" };
      const rule = { apiGroups: ["deckhouse.io"], apiVersions: ["*"], operations: ["UPDATE"], resources: ["modulepulloverrides"] };
      const spec = {
        failurePolicy: "Fail",
        matchConstraints: { resourceRules: [rule] },
        matchConditions: [{ name: "relay", expression: "request.userInfo.username == 'system:serviceaccount:mpo-relay:mpo-relay'" }],
        validations: [{ expression, reason: "Forbidden", message: "not by the relay" }],
      };
      const apiVersion = "admissionregistration.k8s.io/v1";
      const binding = { policyName: "oncall", validationActions: ["Deny"] };
      await trial.apply([
        { apiVersion, kind: "ValidatingAdmissionPolicy", metadata, spec },
        { apiVersion, kind: "ValidatingAdmissionPolicyBinding", metadata, spec: binding },
      ]);
    },
    async allow() {
      await desk().kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", "oncall");
      await sleep(1_000);
    },
  };
  return trial;
}

/** A token that looks like one of the issuer's: whether it is can only be told by its keys. */
export function unverifiedToken({ issuer, audience }: { readonly issuer: string; readonly audience: string }): string {
  const part = (text: object) => Buffer.from(JSON.stringify(text)).toString("base64url");
  const claims = { iss: issuer, aud: audience, sub: "project_path:group/a", exp: Math.floor(Date.now() / 1000) + 600 };
  return `${part({ alg: "RS256", kid: "a" })}.${part(claims)}.${"a".repeat(342)}`;
}
