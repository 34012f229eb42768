/** The policy of infra/decisions/0002 and 0021: what may be depended on, and how. Reads files alone. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import * as z from "zod";

const root = join(import.meta.dirname, "..");
const json = <T extends z.ZodType>(path: string, schema: T): z.infer<T> => schema.parse(JSON.parse(readFileSync(join(root, path), "utf8")));

const versions = z.record(z.string(), z.string());
const { dependencies, devDependencies } = json("package.json", z.object({ dependencies: versions, devDependencies: versions }));
const locked = z.object({
  version: z.string(),
  license: z.string(),
  integrity: z.string().optional(),
  resolved: z.string().optional(),
  dev: z.boolean().default(false),
  hasInstallScript: z.boolean().default(false),
});
type Locked = z.infer<typeof locked>;
const lock = json("package-lock.json", z.object({ packages: z.record(z.string(), z.unknown()) })).packages;
const inLock = new Map(
  Object.entries(lock).flatMap(([path, entry]) => (path === "" ? [] : [[path, locked.parse(entry)] satisfies [string, Locked]])),
);
const nameOf = (path: string) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? path;

/** What is beside the program at an operator's, and what the build put into it: `npm test` builds dist/ first. */
const bundles = json(
  "dist/meta.json",
  z.record(z.string(), z.record(z.string(), z.looseObject({ inputs: z.record(z.string(), z.unknown()) }))),
);
const bundled = new Set(
  Object.values(bundles)
    .flatMap((outputs) => Object.values(outputs))
    .flatMap(({ inputs }) => Object.keys(inputs).filter((path) => path.includes("node_modules/")))
    .map((path) => path.slice(0, path.lastIndexOf("node_modules/")) + `node_modules/${nameOf(path)}`),
);
const shipped = [...inLock].filter(([path, { dev }]) => !dev || bundled.has(path));

describe("every dependency", () => {
  const EXACT = /^\d+\.\d+\.\d+(?:-[\w.]+)?$/;
  const given = Object.entries({ ...dependencies, ...devDependencies });

  it("is one version, the same in package.json and in the lock", () => {
    expect(given.filter(([, version]) => !EXACT.test(version))).toEqual([]);
    expect(given.filter(([name, version]) => inLock.get(`node_modules/${name}`)?.version !== version)).toEqual([]);
    expect(["^1.2.3", "1.x", "latest", "github:a/b", "1.2.3"].map((version) => EXACT.test(version))).toEqual([
      false,
      false,
      false,
      false,
      true,
    ]);
  });

  it("has its reason in decision 0002", () => {
    const decision = readFileSync(join(root, "infra/decisions/0002-dependencies.md"), "utf8");
    const rows = decision.split("\n").filter((line) => line.startsWith("| "));
    const told = new Set(rows.flatMap((row) => (row.split("|")[1] ?? "").match(/@?[a-z0-9][\w./-]*/g) ?? []));
    expect(given.map(([name]) => name).filter((name) => !told.has(name))).toEqual([]);
  });
});

describe("Renovate", () => {
  const { vulnerabilityAlerts, lockFileMaintenance, minimumReleaseAge, rangeStrategy, packageRules, customManagers } = json(
    "renovate.json",
    z.object({
      vulnerabilityAlerts: z.object({ enabled: z.boolean(), schedule: z.array(z.string()), minimumReleaseAge: z.null() }),
      lockFileMaintenance: z.object({ enabled: z.boolean() }),
      minimumReleaseAge: z.string(),
      rangeStrategy: z.string(),
      customManagers: z.tuple([z.object({ matchStrings: z.array(z.string()) })]),
      packageRules: z.array(z.object({ matchPackageNames: z.array(z.string()).default([]) })),
    }),
  );

  it("brings security updates at once, and others when a week has looked at them", () => {
    expect(vulnerabilityAlerts).toEqual({ enabled: true, schedule: ["at any time"], minimumReleaseAge: null });
    expect([lockFileMaintenance.enabled, minimumReleaseAge, rangeStrategy]).toEqual([true, "7 days", "pin"]);
  });

  it("finds what builds the image, which only we call so", () => {
    const workflow = readFileSync(join(root, ".github/workflows/release.yml"), "utf8");
    const [{ matchStrings }] = customManagers;
    const found = matchStrings.flatMap((pattern) => [...workflow.matchAll(new RegExp(pattern, "g"))].map(({ groups }) => ({ ...groups })));
    expect(found).toEqual([
      {
        depName: "docker.io/moby/buildkit",
        currentValue: expect.stringMatching(/^v\d+\.\d+\.\d+$/),
        currentDigest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
      },
    ]);
  });

  it("has rules for what is there alone", () => {
    const names = Object.keys({ ...dependencies, ...devDependencies });
    const isThere = (pattern: string) =>
      names.some((name) => (pattern.endsWith("/**") ? name.startsWith(pattern.slice(0, -2)) : name === pattern));
    expect(packageRules.flatMap(({ matchPackageNames }) => matchPackageNames).filter((pattern) => !isThere(pattern))).toEqual([]);
  });
});

describe("every package in the lock", () => {
  it("is known by its content, from the registry that npm is set to and no other place", () => {
    expect(inLock.size).toBeGreaterThan(100);
    const odd = [...inLock].filter(
      ([, { integrity, resolved = "https://registry.npmjs.org/" }]) =>
        !integrity?.startsWith("sha512-") || !resolved.startsWith("https://registry.npmjs.org/"),
    );
    expect(odd).toEqual([]);
  });

  it("that runs a script when it is installed is one of these, and none of them ships", () => {
    const running = [...inLock].filter(([, { hasInstallScript }]) => hasInstallScript);
    expect(running.map(([path]) => nameOf(path)).toSorted()).toEqual(["classic-level", "es5-ext", "esbuild"]);
    expect(running.filter(([path]) => shipped.some(([each]) => each === path))).toEqual([]);
  });
});

describe("the licence of what an operator runs", () => {
  const allowed = new Set(json("infra/licences.json", z.object({ allowed: z.array(z.string()) })).allowed);
  /** `MIT OR X` may be taken as MIT; `MIT AND X` asks for both. */
  const isAllowed = (licence: string): boolean => {
    const bare = licence.replaceAll(/[()]/g, "");
    return bare.includes(" OR ") ? bare.split(" OR ").some(isAllowed) : bare.split(" AND ").every((each) => allowed.has(each));
  };

  it("is allowed, transitively and of what is bundled too", () => {
    expect(shipped.length).toBeGreaterThan(Object.keys(dependencies).length);
    expect(shipped.map(([path]) => nameOf(path))).toEqual(expect.arrayContaining(["@kubernetes/client-node", "aws4fetch", "tdigest"]));
    expect(shipped.filter(([, { license }]) => !isAllowed(license)).map(([path, { license }]) => `${path}: ${license}`)).toEqual([]);
  });

  it("is what the installed package itself says", () => {
    const own = z.object({ license: z.string() });
    const installed = shipped.flatMap(([path, { license }]) => {
      try {
        return [{ path, license, said: json(`${path}/package.json`, own).license }];
      } catch (thrown) {
        if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") return []; // for another platform
        throw thrown;
      }
    });
    expect(installed.length).toBeGreaterThan(Object.keys(dependencies).length);
    expect(installed.filter(({ license, said }) => license !== said)).toEqual([]);
  });

  test.each([
    ["MIT", true],
    ["(MIT OR GPL-3.0-only)", true],
    ["MIT AND GPL-3.0-only", false],
    ["AGPL-3.0-only", false],
    ["SEE LICENSE IN LICENSE.md", false],
    ["UNLICENSED", false],
  ])("%s: %s", (licence, verdict) => {
    expect(isAllowed(licence)).toBe(verdict);
  });

  it("leaves none in the list that nothing has", () => {
    const had = new Set(shipped.map(([, { license }]) => license));
    expect([...allowed].filter((licence) => !had.has(licence))).toEqual([]);
  });
});
