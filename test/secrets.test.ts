import { mkdtemp, rename, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createSecretReader, readPair } from "../src/secrets.ts";

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "secrets-"))));
afterEach(async () => rm(folder, { recursive: true }));

/** A reader whose clock the test moves. */
function reader(env: NodeJS.ProcessEnv = {}) {
  const clock = { now: new Date("2026-01-01T00:00:00Z") };
  const read = createSecretReader({ env, now: () => clock.now });
  return { read, later: (ms: number) => void (clock.now = new Date(clock.now.getTime() + ms)) };
}

describe("env:", () => {
  it("reads a variable, each time anew", async () => {
    const env = { HARBOR: "one" };
    const { read } = reader(env);
    expect(await read({ kind: "env", name: "HARBOR" })).toBe("one");
    env.HARBOR = "two";
    expect(await read({ kind: "env", name: "HARBOR" })).toBe("two");
  });

  it("names the reference where it is not set or empty", async () => {
    const { read } = reader({ EMPTY: "" });
    await expect(read({ kind: "env", name: "HARBOR" })).rejects.toThrow("the secret env:HARBOR is not set");
    await expect(read({ kind: "env", name: "EMPTY" })).rejects.toThrow("the secret env:EMPTY is empty");
  });
});

describe("file:", () => {
  const write = async (text: string, name = "secret") => {
    const path = join(folder, name);
    await writeFile(path, text);
    return path;
  };

  it.each([
    ["a\n", "a"],
    ["a\r\n", "a"],
    ["a\n\n", "a\n"],
    [" a ", " a "],
  ])("takes one trailing line break away: %j", async (text, value) => {
    expect(await reader().read({ kind: "file", path: await write(text) })).toBe(value);
  });

  it("keeps the value for a moment, then sees a rotation", async () => {
    const { read, later } = reader();
    const path = await write("old-secret");
    expect(await read({ kind: "file", path })).toBe("old-secret");
    await write("new-secret-which-is-longer");
    expect(await read({ kind: "file", path })).toBe("old-secret");
    later(1000);
    expect(await read({ kind: "file", path })).toBe("new-secret-which-is-longer");
  });

  it("sees another file of equal size and time in its place, as a mounted secret changes", async () => {
    const { read, later } = reader();
    const path = await write("aaaa");
    await utimes(path, 1000, 1000);
    expect(await read({ kind: "file", path })).toBe("aaaa");
    const next = await write("bbbb", "next");
    await utimes(next, 1000, 1000);
    await rename(next, path);
    later(1000);
    expect(await read({ kind: "file", path })).toBe("bbbb");
  });

  it("stops to believe a secret whose file is gone", async () => {
    const { read, later } = reader();
    const path = await write("aaaa");
    await read({ kind: "file", path });
    await rm(path);
    later(1000);
    await expect(read({ kind: "file", path })).rejects.toThrow(`the secret file:${path} cannot be read (ENOENT)`);
  });

  it("refuses an empty file: anything empty would match it", async () => {
    await expect(reader().read({ kind: "file", path: await write("\n") })).rejects.toThrow("is empty");
  });
});

describe("ssm:", () => {
  const ref = { kind: "ssm", name: "/mpo-relay/prod/harbor" } as const;
  const MINUTE = 60_000;
  /** A store whose answer the test changes; counts how often it is asked. */
  function store(first: string | null | Error) {
    const clock = { now: new Date("2026-01-01T00:00:00Z") };
    const it = { answer: first, asked: 0 };
    const readParameter = async (name: string) => {
      expect(name).toBe(ref.name);
      it.asked += 1;
      if (it.answer instanceof Error) throw it.answer;
      return it.answer;
    };
    const read = createSecretReader({ env: {}, now: () => clock.now, readParameter });
    return { it, read: () => read(ref), later: (ms: number) => void (clock.now = new Date(clock.now.getTime() + ms)) };
  }

  it("is asked once for all who want it at the same time, also where it cannot be had", async () => {
    for (const answer of ["s", null, new Error("ThrottlingException")]) {
      let asked = 0;
      const read = createSecretReader({
        readParameter: async () => {
          asked += 1;
          await new Promise((resolve) => setTimeout(resolve, 5));
          if (answer instanceof Error) throw answer;
          return answer;
        },
      });
      const all = await Promise.allSettled(Array.from({ length: 100 }, () => read(ref)));
      expect(new Set(all.map(({ status }) => status))).toEqual(new Set([answer === "s" ? "fulfilled" : "rejected"]));
      expect(asked).toBe(1);
    }
  });

  it("is asked once a minute, and a rotation counts then", async () => {
    const { it, read, later } = store("old\n");
    expect([await read(), await read()]).toEqual(["old", "old"]);
    it.answer = "new";
    later(MINUTE - 1);
    expect(await read()).toBe("old");
    later(1);
    expect([await read(), it.asked]).toEqual(["new", 2]);
  });

  it("is believed for an hour while its store does not answer, which is then asked once a minute", async () => {
    const { it, read, later } = store("known");
    await read();
    it.answer = new Error("TimeoutError");
    later(MINUTE);
    expect([await read(), await read(), it.asked]).toEqual(["known", "known", 2]);
    later(59 * MINUTE);
    await expect(read()).rejects.toThrow("the secret ssm:/mpo-relay/prod/harbor cannot be read (TimeoutError)");
    it.answer = "known again";
    expect(await read()).toBe("known again");
  });

  it("counts no longer once it was taken away", async () => {
    const { it, read, later } = store("known");
    await read();
    it.answer = null;
    later(MINUTE);
    await expect(read()).rejects.toThrow("is not there");
    it.answer = new Error("TimeoutError");
    await expect(read()).rejects.toThrow("cannot be read");
  });

  it("is an error where it is empty", async () => {
    await expect(store("").read()).rejects.toThrow("is empty");
  });
});

describe("a rotation: the old secret into `previousSecret`, then the new one into `secret`", () => {
  const never = (why: string) => expect.fail(why);

  it("refuses the old one at no moment, whenever each was read before", async () => {
    const seconds = fc.integer({ min: 0, max: 300 });
    await fc.assert(
      fc.asyncProperty(fc.array(seconds, { minLength: 40, maxLength: 80 }), seconds, seconds, fc.nat(), async (deliveries, a, b, start) => {
        const [first, second] = [Math.min(a, b), Math.max(a, b)];
        let at = 0;
        const values: Record<string, () => string> = {
          secret: () => (at >= second ? "new" : "old"),
          previous: () => (at >= first ? "old" : "of-the-last-rotation"),
        };
        const now = () => new Date(start + at * 1000);
        const read = createSecretReader({ now, readParameter: async (name) => values[name]?.() ?? null });
        const pair = {
          current: { kind: "ssm", name: "secret" },
          previous: { kind: "ssm", name: "previous" },
          previousUntil: null,
        } as const;
        await read(pair.current); // at the start
        for (at of deliveries.toSorted((x, y) => x - y)) {
          const { current, previous } = await readPair(pair, read, now(), never);
          expect([current, previous]).toContain("old");
        }
      }),
    );
  });

  it("in files, too", async () => {
    const { read, later } = reader();
    const [current, previous] = [join(folder, "secret"), join(folder, "previous")].map((path) => ({ kind: "file", path }) as const);
    if (!current || !previous) return expect.fail();
    await writeFile(current.path, "old");
    await writeFile(previous.path, "of-the-last-rotation");
    const pair = { current, previous, previousUntil: null };
    await read(current);
    later(500);
    await readPair(pair, read, new Date(), never);
    await writeFile(previous.path, "old");
    await writeFile(current.path, "new-secret");
    later(600);
    expect(await readPair(pair, read, new Date(), never)).toEqual({ current: "new-secret", previous: "old" });
  });
});
