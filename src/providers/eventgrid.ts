/** Azure Container Registry through Event Grid, in both schemas: https://learn.microsoft.com/azure/event-grid/event-schema-container-registry */
import * as z from "zod";
import { acrEvent, acrPush } from "./acr.ts";
import { cloudEvent, eventsBody, readData } from "./cloudevents-envelope.ts";
import { orNull } from "./normalise.ts";
import { type Handshake, type HandshakeRequest, type Push, readEach, type RegistryProvider } from "./provider.ts";

/** Event Grid's own schema differs from CloudEvents, as far as we read them, in one name. */
const event = cloudEvent.extend({ type: z.string().optional(), eventType: z.string().optional() });

export const eventgrid: RegistryProvider<z.infer<typeof eventsBody>> = {
  name: "eventgrid",
  title: "Azure Container Registry through Event Grid",
  auth: [{ kind: "token", header: "authorization" }, { kind: "url" }],
  payload: eventsBody,
  pushes: (body, delivery) =>
    readEach(Array.isArray(body) ? body : [body], event, (each): Push | null => {
      const type = each.type ?? each.eventType;
      if (type === undefined) return { unreadable: "neither `type` nor `eventType`" };
      if (type !== "Microsoft.ContainerRegistry.ImagePushed") return null;
      return readData({ ...each, type }, acrEvent, (data) => acrPush({ ...data, id: orNull(each.id) ?? data.id }, delivery));
    }),
  handshake: ({ method, headers, payload }) =>
    method === "OPTIONS" ? permission(headers["webhook-request-origin"] ?? "") : validated(payload),
};

/**
 * CloudEvents' abuse protection: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md#4-abuse-protection
 * Who asks is not known, so only Event Grid itself gets leave, and nothing else is said. A stranger gains that Event Grid would send
 * to us for his subscription too: deliveries without the secret, which are refused as if he had sent them himself.
 */
function permission(origin: string): Handshake | null {
  if (!/^(?:[a-z0-9-]+\.)*eventgrid\.azure\.(?:net|com|us|cn)$/.test(origin)) return null;
  return { status: 200, headers: { "webhook-allowed-origin": origin, "webhook-allowed-rate": "*", allow: "POST" }, body: null };
}

const validation = z.tuple([
  z.object({
    eventType: z.literal("Microsoft.EventGrid.SubscriptionValidationEvent"),
    data: z.object({ validationCode: z.string().min(1).max(256) }),
  }),
]);

/** https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema: 200, not 202. The `validationUrl` is never called. */
function validated(payload: HandshakeRequest["payload"]): Handshake | null {
  const read = validation.safeParse(payload);
  return read.success ? { status: 200, headers: {}, body: { validationResponse: read.data[0].data.validationCode } } : null;
}
