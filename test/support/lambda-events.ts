/** Events as AWS hands them to functions, and the delivery in one. */
import { createHash } from "node:crypto";
import type { QueueRecord } from "../../src/queue/queue.ts";

export const digestOf = (text: string) => `sha256:${createHash("sha256").update(text).digest("hex")}`;

/** A Distribution notification of one push. */
export function notificationOf(module: string): string {
  const target = {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: digestOf(module),
    repository: `deckhouse/modules/${module}`,
    url: `https://registry.example.com/v2/deckhouse/modules/${module}/manifests/main`,
    tag: "main",
  };
  return JSON.stringify({ events: [{ id: `push-${module}`, timestamp: new Date().toISOString(), action: "push", target }] });
}

export interface UrlCall {
  readonly base64?: boolean;
  readonly secret?: string;
  readonly method?: "POST" | "GET";
  readonly path?: string;
}

/** https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads */
export function urlEvent(body: string, { base64 = false, secret = "", method = "POST", path = "/hooks/registry" }: UrlCall = {}) {
  return {
    version: "2.0",
    routeKey: "$default",
    rawPath: path,
    rawQueryString: "",
    headers: {
      authorization: `Bearer ${secret}`,
      "content-type": "application/vnd.docker.distribution.events.v2+json",
      host: "relay.lambda-url.eu-west-1.on.aws",
    },
    requestContext: {
      accountId: "anonymous",
      apiId: "relay",
      domainName: "relay.lambda-url.eu-west-1.on.aws",
      domainPrefix: "relay",
      http: { method, path, protocol: "HTTP/1.1", sourceIp: "192.0.2.1", userAgent: "Go-http-client/1.1" },
      requestId: "00000000-0000-4000-8000-000000000000",
      routeKey: "$default",
      stage: "$default",
      time: "24/Nov/2026:12:00:00 +0000",
      timeEpoch: 1_795_521_600_000,
    },
    body: base64 ? Buffer.from(body).toString("base64") : body,
    isBase64Encoded: base64,
  };
}

/** https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event */
export function batchOf(records: readonly QueueRecord[]) {
  return {
    Records: records.map(({ id, receipt, body, receiveCount, sentAt }) => ({
      messageId: id,
      receiptHandle: receipt,
      body,
      attributes: {
        ApproximateReceiveCount: String(receiveCount),
        SentTimestamp: String(Date.parse(sentAt)),
        SenderId: "AIDAIENQZJOLO23YVJ4VO",
        ApproximateFirstReceiveTimestamp: String(Date.parse(sentAt)),
      },
      messageAttributes: {},
      md5OfBody: createHash("md5").update(body).digest("hex"),
      eventSource: "aws:sqs",
      eventSourceARN: "arn:aws:sqs:eu-west-1:123456789012:dev",
      awsRegion: "eu-west-1",
    })),
  };
}
