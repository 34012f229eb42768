/** The contract of every registry: each row of the table × each saved delivery, and what can be made of those by spoiling them. */
import fc from "fast-check";
import { afterEach, beforeAll, describe, expect, it, test } from "vitest";
import { authenticate } from "../src/auth.ts";
import { decodeBody } from "../src/body.ts";
import { pushEvent } from "../src/event.ts";
import { providerNames, providers } from "../src/providers/index.ts";
import { type DeliveryContext, pushesOf, type Reading, type RegistryProvider, schemeOf } from "../src/providers/provider.ts";
import { deliveriesOf, type DeliveryCase, prove, spoiled } from "./contracts/deliveries.ts";
import { emptyOf, placesIn, replaced, without, wrongTypesFor } from "./contracts/spoil.ts";
import { type EveryRegistry, NOW, openEveryRegistry, PREVIOUS, PREVIOUS_ENDS, requestsIn, SECRET } from "./support/every-registry.ts";

const now = new Date("2026-11-20T12:04:05.000Z");
const contextOf = ({ headers, host }: DeliveryCase): DeliveryContext => ({ headers, host });

function parsed({ body, headers }: DeliveryCase): unknown {
  const decoded = decodeBody(body, headers["content-type"]);
  if (!decoded.ok) throw new Error(decoded.why);
  return decoded.value;
}

/** What holds of every reading, whatever came in. */
function expectSound({ pushes }: Reading): void {
  for (const push of pushes) expect(pushEvent.parse(push)).toEqual(push);
  const ids = pushes.flatMap(({ id }) => id ?? []);
  expect(new Set(ids).size).toBe(ids.length);
}

let edge: EveryRegistry;
beforeAll(async () => {
  edge = await openEveryRegistry();
});

describe.each(providerNames)("%s", (name) => {
  const provider = rowOf(name);
  const deliveries = deliveriesOf(name);
  const pushDeliveries = deliveries.filter((each) => each.name.startsWith("push-"));
  const [aPush] = pushDeliveries;
  if (!aPush) throw new Error(`test/fixtures/${name}/ has no push-*`);

  it("has its name, and saved deliveries of both kinds", () => {
    expect(provider.name).toBe(name);
    expect(deliveries.filter((each) => each.name.startsWith("ignored-"))).not.toEqual([]);
  });

  it.each(deliveries)("reads $name", (delivery) => {
    const reading = pushesOf(provider, parsed(delivery), contextOf(delivery));
    expect(reading.pushes).toEqual(delivery.events);
    expect(reading.unreadable).toHaveLength(delivery.unreadable);
    expectSound(reading);
  });

  it("keeps what the names of its deliveries promise", () => {
    for (const { name: title, events, unreadable } of deliveries) {
      const kind = unreadable > 0 ? "unreadable" : events.length > 0 ? "push" : "ignored";
      expect(title).toMatch(new RegExp(`^${kind}-[a-z0-9.-]+$`));
    }
  });

  describe.each(provider.auth.filter((scheme) => scheme.kind !== "oidc"))("authentication by $kind", (scheme) => {
    const unsigned = { headers: aPush.headers, rawBody: aPush.body, now };
    const secrets = { current: SECRET, previous: PREVIOUS };

    it("is found by its kind", () => {
      expect(schemeOf(provider, scheme.kind)).toBe(scheme);
      expect(schemeOf(provider, null)).toBe(provider.auth[0]);
      expect(schemeOf(provider, "nothing")).toBeUndefined();
    });

    it("lets the current and the previous secret in, and says which", () => {
      expect(authenticate(scheme, prove(scheme, SECRET, unsigned), secrets)).toBe("current");
      expect(authenticate(scheme, prove(scheme, PREVIOUS, unsigned), secrets)).toBe("previous");
      expect(authenticate(scheme, prove(scheme, PREVIOUS, unsigned), { ...secrets, previous: null })).toBe("refused");
    });

    test.each([SECRET, PREVIOUS])("refuses whatever is spoiled, made with %s", (secret) => {
      const attempts = spoiled(scheme, secret, prove(scheme, secret, unsigned));
      const accepted = attempts.filter(({ request }) => authenticate(scheme, request, secrets) !== "refused");
      expect(accepted.map(({ how }) => how)).toEqual([]);
    });
  });

  it.each(pushDeliveries)("$name: a wrong type is unreadable, or stands in a field that is not read", (delivery) => {
    const body = parsed(delivery);
    const silent = placesIn(body).flatMap(({ path, value }) =>
      wrongTypesFor(value).flatMap((wrong) => {
        const reading = pushesOf(provider, replaced(body, path, wrong), contextOf(delivery));
        expectSound(reading);
        const unchanged = JSON.stringify(reading.pushes) === JSON.stringify(delivery.events);
        return unchanged || reading.unreadable.length > 0 ? [] : [`${path.join(".")} = ${JSON.stringify(wrong)}`];
      }),
    );
    expect(silent).toEqual([]);
  });

  it.each(pushDeliveries)("$name: a field that is absent or empty is unreadable, no push any more, or one that says less", (delivery) => {
    const body = parsed(delivery);
    for (const { path, value } of placesIn(body)) {
      for (const less of [without(body, path), replaced(body, path, emptyOf(value) ?? null)]) {
        const reading = pushesOf(provider, less, contextOf(delivery));
        expectSound(reading);
        // a push that was told twice, and read as one, may come apart
        expect(reading.pushes.length).toBeLessThanOrEqual(delivery.events.length + 1);
      }
    }
  });

  it.each(deliveries)("$name: every list bears 1,000 entries, bad ones among them", (delivery) => {
    const body = parsed(delivery);
    for (const { path, value } of [{ path: [], value: body }, ...placesIn(body)]) {
      if (!Array.isArray(value) || value.length === 0) continue;
      const many = Array.from({ length: 1000 }, (_, n) => (n % 100 === 99 ? n : value[n % value.length]));
      const reading = pushesOf(provider, path.length === 0 ? many : replaced(body, path, many), contextOf(delivery));
      expectSound(reading);
      expect(reading.pushes.length + reading.unreadable.length).toBeLessThanOrEqual(501);
    }
  });

  it.each(pushDeliveries)("$name: a character that no name can hold never gets through", (delivery) => {
    const body = parsed(delivery);
    for (const { path, value } of placesIn(body)) {
      if (typeof value !== "string") continue;
      for (const odd of ["\ufffe", "\u0000", "\ud800"]) {
        const reading = pushesOf(provider, replaced(body, path, value + odd), contextOf(delivery));
        expectSound(reading);
        expect(JSON.stringify(reading.pushes)).not.toContain(JSON.stringify(odd).slice(1, -1));
      }
    }
  });

  it.each(pushDeliveries)("$name: keys called __proto__ change nothing", (delivery) => {
    const laced = JSON.stringify(parsed(delivery)).replaceAll(/\{(?=\s*")/g, '{"__proto__": {"tag": 1, "polluted": true}, ');
    expect(pushesOf(provider, JSON.parse(laced), contextOf(delivery)).pushes).toEqual(delivery.events);
    expect("polluted" in {}).toBe(false);
  });

  it.each(pushDeliveries)("$name: is no JSON when it is cut off", ({ body, headers }) => {
    for (const end of [0, 1, Math.floor(body.length / 2), body.lastIndexOf(body.includes("]") ? "]" : "}")]) {
      expect(decodeBody(body.subarray(0, end), headers["content-type"])).toMatchObject({ ok: false });
    }
  });

  it.each([null, true, 5, "text", {}, { hello: "world" }, [[]], [null], { events: null }, { pushes: null }, { event_data: null }])(
    "cannot read %j",
    (body) => {
      const reading = pushesOf(provider, body, contextOf(aPush));
      expect(reading.pushes).toEqual([]);
      expect(reading.unreadable).toHaveLength(1);
    },
  );

  it("bears JSON of depth 10,000 wherever it stands", () => {
    const deepList: unknown = JSON.parse("[".repeat(10_000) + "]".repeat(10_000));
    const deepObject: unknown = JSON.parse('{"a":'.repeat(10_000) + "1" + "}".repeat(10_000));
    for (const deep of [deepList, deepObject]) {
      expect(pushesOf(provider, deep, contextOf(aPush)).pushes).toEqual([]);
      for (const { path } of placesIn(parsed(aPush)))
        expectSound(pushesOf(provider, replaced(parsed(aPush), path, deep), contextOf(aPush)));
    }
  });

  it("puts no value of the input into the reason", () => {
    const body = parsed(aPush);
    const unreadable = placesIn(body).flatMap(
      ({ path }) => pushesOf(provider, replaced(body, path, ["hush"]), contextOf(aPush)).unreadable,
    );
    expect(unreadable).not.toEqual([]);
    expect(unreadable.join()).not.toContain("hush");
  });

  describe("through the whole edge", () => {
    const own = () => edge.hooks.filter((hook) => hook.provider === provider);
    const callsOf = (headers = aPush.headers, secret?: string) => own().map((hook) => edge.genuine(hook, aPush.body, headers, secret));
    const statuses = (calls: ReturnType<typeof callsOf>) => Promise.all(calls.map(async (call) => (await edge.send(call)).status));
    afterEach(() => {
      edge.take();
      edge.setNow(NOW);
    });

    it("takes POST alone, whoever asks; OPTIONS only where it is a handshake", async () => {
      for (const method of ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
        expect([method, await statuses(callsOf().map((call) => ({ ...call, method })))]).toEqual([method, own().map(() => 405)]);
      const { records, letters } = edge.take();
      expect([records, letters]).toEqual([[], []]);
    });

    it("reads the same under no content type and under others, unless a form says that it is none", async () => {
      const { "content-type": type = "", ...untyped } = aPush.headers;
      const isForm = type.includes("form-urlencoded");
      const keys = async (headers: DeliveryCase["headers"]) => {
        for (const call of callsOf(headers)) {
          const { status, text } = await edge.send(call);
          expect([call.hook, status < 500, status === 401 ? text : ""]).toEqual([call.hook, true, ""]);
        }
        return requestsIn(edge.take()).map(({ webhook, key }) => `${webhook} ${key}`);
      };
      const wanted = await keys(aPush.headers);
      for (const other of ["application/json", "application/json; charset=utf-8", "text/plain", "application/octet-stream", "", "x"])
        expect(await keys({ ...untyped, "content-type": other })).toEqual(isForm ? [] : wanted);
      expect(await keys(untyped)).toEqual(isForm ? [] : wanted);
    });

    it("takes the previous secret until its end, and says that it is still in use", async () => {
      const hooks = own().filter(({ scheme }) => scheme.kind !== "oidc");
      const before = await statuses(callsOf(aPush.headers, PREVIOUS));
      expect(before.filter((status) => status !== 200 && status !== 202)).toEqual([]);
      expect(edge.take().log.filter((line) => line.includes('"OLD_SECRET"'))).toHaveLength(hooks.length);
      const calls = callsOf(aPush.headers, PREVIOUS).filter(({ hook }) => hooks.some((each) => each.name === hook));
      edge.setNow(PREVIOUS_ENDS);
      expect(await statuses(calls)).toEqual(hooks.map(() => 401));
    });
  });

  it("bears any JSON value", () => {
    fc.assert(fc.property(fc.jsonValue(), (body) => expectSound(pushesOf(provider, body, contextOf(aPush)))));
  });

  it("bears any JSON value in any place of a saved delivery", () => {
    const where = fc.constantFrom(...deliveries).chain((delivery) => {
      const places = placesIn(parsed(delivery)).map(({ path }) => path);
      return fc.record({ delivery: fc.constant(delivery), path: fc.constantFrom(...(places.length > 0 ? places : [[0]])) });
    });
    const value = fc.oneof(
      fc.jsonValue(),
      fc.string({ unit: "binary" }),
      fc.constantFrom("__proto__", "", 0, -1, 1e308, "0001-01-01T00:00:00Z"),
    );
    fc.assert(
      fc.property(where, value, fc.boolean(), ({ delivery, path }, by, known) => {
        const host = known ? "registry.example.com" : delivery.host;
        expectSound(pushesOf(provider, replaced(parsed(delivery), path, by), { headers: delivery.headers, host }));
      }),
      { numRuns: 500 },
    );
  });
});

function rowOf(name: string): RegistryProvider {
  const provider = providers[name];
  if (!provider) throw new Error(`no provider ${name}`);
  return provider;
}

describe("the table", () => {
  it("knows nothing that an object inherits", () => {
    for (const word of ["constructor", "__proto__", "toString", ""]) expect(providers[word]).toBeUndefined();
  });
});

describe("pushesOf", () => {
  it("numbers pushes of one id, past ids that look like a number given before", () => {
    const ids = ["a", "a/2", "a", "a", "b", undefined, "a"];
    const body = ids.map((id) => ({ repository: "registry.example.com/modules/echo", tag: "main", ...(id === undefined ? {} : { id }) }));
    const { pushes } = pushesOf(rowOf("generic"), body, { headers: {}, host: null });
    expect(pushes.map(({ id }) => id)).toEqual(["a", "a/2", "a/3", "a/4", "b", null, "a/5"]);
  });

  it("bears hundreds of pushes of one id", () => {
    const one = { repository: "registry.example.com/modules/echo", tag: "main", id: "same" };
    const { pushes } = pushesOf(
      rowOf("generic"),
      Array.from({ length: 500 }, () => one),
      { headers: {}, host: null },
    );
    expect(pushes.at(-1)?.id).toBe("same/500");
  });
});
